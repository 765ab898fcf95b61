"""Secrets that change while Mosquitto runs: nobody restarts it, and nobody sends it SIGHUP."""

import asyncio
import json

import pytest

from core.db import Database
from core.passwords import hash_password
from core.settings import BusSettings, load
from gateway import registry
from gateway.accounts.commands import NOBODYS, REVOKED_ROLE, tag_of
from gateway.accounts.control import ControlFailed, open_control
from gateway.accounts.settings import AccountsSettings
from gateway.accounts.tell import Imported, Readmitted, Revoked, Secret, tell
from gateway.registry.changes import of_enrolment, of_revocation
from tests.broker_fixtures import RunningBroker, free_port
from tests.gateway.accounts.conftest import SETTINGS, Keeping, ends, is_let_in, signed_in
from tests.gateway.conftest import OTHER_VIN, VIN, eventually


async def enroll(room: Database, *, again: bool = False) -> registry.Enrolment:
    async with room.transaction() as conn:
        return await registry.enroll(conn, vin=VIN, model="AURORA", firmware="2.4.1", again=again)


async def told(broker: RunningBroker, *changes: Secret | Imported | Readmitted | Revoked) -> None:
    assert await tell(changes, broker.settings("svc-gateway"), SETTINGS) is None


async def test_a_secret_from_enrolment_to_the_way_back(
    room: Database, broker: RunningBroker
) -> None:
    pid = broker.pid
    first = await enroll(room)
    assert first.secret is not None
    await told(broker, *of_enrolment(first))
    async with signed_in(broker, first.secret) as vehicle:
        await vehicle.publish(f"{broker.prefix}/{VIN}/status", b"{}")
        async with room.transaction() as conn:
            second = await registry.rotate_secret(conn, VIN)
        await told(broker, *of_enrolment(second))
        await ends(vehicle)
    assert second.secret is not None
    assert not await is_let_in(broker, first.secret)
    async with signed_in(broker, second.secret) as vehicle:
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)
        await told(broker, *of_revocation(VIN))
        await ends(vehicle)
    assert not await is_let_in(broker, second.secret)
    third = await enroll(room, again=True)
    await told(broker, *of_enrolment(third, again=True))
    assert third.secret is not None
    assert await is_let_in(broker, third.secret)
    assert not await is_let_in(broker, second.secret)
    assert broker.pid == pid
    assert await asyncio.to_thread(broker.is_running)


async def test_what_is_in_the_password_file_ends_as_well(broker: RunningBroker) -> None:
    """The broker has read a secret there; the overlay goes before it."""
    old = "a secret of the password file"
    broker.passwords.set(VIN, old)
    broker.restart()
    async with signed_in(broker, old) as vehicle:
        await told(broker, Secret(VIN, "new", hash_password("new")))
        await ends(vehicle)
    assert await is_let_in(broker, "new")
    assert not await is_let_in(broker, old)
    await told(broker, Revoked(VIN))
    for secret in (old, "new"):
        assert not await is_let_in(broker, secret)
    # With a certificate: no secret of before works again.
    await told(broker, Readmitted(VIN))
    for secret in (old, "new"):
        assert not await is_let_in(broker, secret)


async def test_changes_can_be_told_again(broker: RunningBroker) -> None:
    change = Secret(VIN, "secret", hash_password("secret"))
    for _ in range(3):
        await told(broker, change, Imported(OTHER_VIN, "other", hash_password("other")))
        assert await is_let_in(broker, "secret")
        assert await is_let_in(broker, "other", OTHER_VIN)
    for _ in range(3):
        await told(broker, Revoked(VIN))
        assert not await is_let_in(broker, "secret")
    async with open_control(broker.settings("svc-gateway")) as control:
        accounts = await control.accounts()
        assert set(accounts) == {VIN, OTHER_VIN}
        assert accounts[VIN].revoked
        assert accounts[OTHER_VIN].tag != accounts[VIN].tag


async def test_many_accounts_come_in_pages(broker: RunningBroker) -> None:
    names = {f"VF1AURXRA{number:08d}" for number in range(1100)}
    hashed = hash_password("secret")
    await told(broker, *(Imported(name, "secret", hashed) for name in sorted(names)))
    async with open_control(broker.settings("svc-gateway")) as control:
        assert set(await control.accounts()) == names
    assert await is_let_in(broker, "secret", max(names))


async def test_the_plugins_words_reach_the_caller(broker: RunningBroker) -> None:
    async with open_control(broker.settings("svc-gateway")) as control:
        with pytest.raises(ControlFailed, match="Role not found"):
            await control.run(
                [
                    {"command": "createClient", "username": "x"},
                    {"command": "addClientRole", "username": "x", "rolename": "nobody's"},
                ]
            )


async def test_a_vehicle_cannot_change_accounts(broker: RunningBroker) -> None:
    broker.add_user(VIN)
    notice = await tell([Revoked(OTHER_VIN)], broker.settings(VIN), SETTINGS)
    assert notice is not None
    async with open_control(broker.settings("svc-gateway")) as control:
        assert OTHER_VIN not in await control.accounts()


async def test_whoever_changes_a_secret_hears_that_the_broker_is_away() -> None:
    away = load(BusSettings, host="127.0.0.1", port=free_port(), username="svc-gateway")
    quick = load(AccountsSettings, deadline_s=0.3)
    notice = await tell([Secret(VIN, "secret", "hash")], away, quick)
    assert notice is not None
    assert "no broker at 127.0.0.1" in notice
    assert "next start" in notice
    assert "\n" not in notice
    # The embedded broker reads the password file by itself.
    embedded = load(BusSettings, protocol="3.1.1")
    assert await tell([Revoked(VIN)], embedded, quick) is None


async def test_a_revocation_by_somebody_else_ends_the_connection(
    room: Database, broker: RunningBroker, keeping: Keeping
) -> None:
    made = await enroll(room)
    await told(broker, *of_enrolment(made))
    assert made.secret is not None
    async with keeping(), signed_in(broker, made.secret) as vehicle:
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)
        await ends(vehicle)
        assert not await is_let_in(broker, made.secret)


async def test_a_revocation_while_the_broker_is_away_is_made_good(
    room: Database, broker: RunningBroker, keeping: Keeping
) -> None:
    """It comes back with a password file that still has the vehicle."""
    made = await enroll(room)
    assert made.secret is not None
    broker.passwords.set(VIN, made.secret)
    async with keeping():
        broker.stop()
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)
        broker.start()

        async def out() -> bool:
            return not await is_let_in(broker, made.secret or "")

        await eventually(out, "the revoked vehicle is out")


async def test_a_secret_nobody_brought_to_the_broker(
    room: Database, broker: RunningBroker, keeping: Keeping
) -> None:
    """The old one ends all the same, and the new one works once the broker has read the file."""
    old = await enroll(room)
    assert old.secret is not None
    broker.passwords.set(VIN, old.secret)
    broker.restart()
    async with keeping():
        async with signed_in(broker, old.secret) as vehicle:
            async with room.transaction() as conn:
                new = await registry.rotate_secret(conn, VIN)
            await ends(vehicle)
        assert new.secret is not None
        for secret in (old.secret, new.secret):
            assert not await is_let_in(broker, secret)
        broker.passwords.set(VIN, new.secret)
        broker.restart()
        assert await is_let_in(broker, new.secret)
        assert not await is_let_in(broker, old.secret)
        # And it stays so when the keeper has looked again.
        async with open_control(broker.settings("svc-gateway")) as control:

            async def looked() -> bool:
                return await control.account(VIN) is None

            await asyncio.sleep(2 * SETTINGS.recheck_s)
            assert await looked()
        assert await is_let_in(broker, new.secret)


async def test_a_secret_that_was_brought_is_left_alone(
    room: Database, broker: RunningBroker, keeping: Keeping
) -> None:
    async with keeping():
        made = await enroll(room)
        await told(broker, *of_enrolment(made))
        assert made.secret is not None
        async with signed_in(broker, made.secret) as vehicle:
            await asyncio.sleep(SETTINGS.grace_s + 2 * SETTINGS.recheck_s)
            assert vehicle.connected
        async with open_control(broker.settings("svc-gateway")) as control:
            account = await control.account(VIN)
            assert account is not None
            assert made.secret_hash is not None
            assert account.tag == tag_of(made.secret_hash) != NOBODYS


def test_the_overlay_begins_empty_at_each_start(broker: RunningBroker) -> None:
    """What it held is in the password file by then, or has ended."""
    broker.add_user(VIN, "old")
    broker.passwords.set(VIN, "new")
    broker.restart()
    assert broker.can_log_in(VIN, "new")
    assert not broker.can_log_in(VIN, "old")
    kept = json.loads(
        (broker.passwords.path.parent / "mosquitto/dynamic-security.json").read_text()
    )
    assert kept["clients"] == []
    assert [role["rolename"] for role in kept["roles"]] == [REVOKED_ROLE]
