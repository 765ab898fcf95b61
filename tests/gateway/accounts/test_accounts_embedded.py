"""The embedded broker reads the password file by itself, and ends what cannot sign in any more."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from core.bus import Subscription, Will, open_bus
from core.bus.start import BusHolder
from core.clock import SystemClock
from core.contracts.bus import Presence, PresenceMessage, decode, encode
from core.db import Database
from core.settings import SigningSettings, load
from gateway import registry
from gateway.accounts.keeper import Keeper
from gateway.parts import Gateway
from gateway.registry.passwords import sync_password_file
from tests.broker_fixtures import SERVICES, RunningBroker, run_broker
from tests.gateway.accounts.conftest import SETTINGS, ends, is_let_in, signed_in
from tests.gateway.conftest import PREFIX, VIN, eventually

TOPIC = f"{PREFIX}/{VIN}/presence"


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[RunningBroker]:
    yield from run_broker(tmp_path, "amqtt")


@pytest.mark.parametrize("how", ["changed", "taken away"])
async def test_a_connection_ends_with_its_secret(embedded: RunningBroker, how: str) -> None:
    secret, other = embedded.add_user(VIN), embedded.add_user("another")
    will = Will(TOPIC, encode(PresenceMessage(Presence.OFFLINE, datetime.now(UTC), "one", 1)))
    watcher = open_bus(
        embedded.settings("svc-telemetry"),
        client_id="watcher",
        subscriptions=[Subscription(TOPIC)],
    )
    await watcher.start()
    async with (
        signed_in(embedded, secret, will=will) as vehicle,
        signed_in(embedded, other, vin="another") as bystander,
    ):
        hashes = embedded.passwords.read()
        del hashes[VIN]
        embedded.passwords.write(hashes)
        if how == "changed":
            embedded.passwords.set(VIN, "new")
        await ends(vehicle)
        async with asyncio.timeout(20):
            message = await anext(aiter(watcher.messages()))
        assert decode(PresenceMessage, message.payload).state is Presence.OFFLINE
        assert bystander.connected
        assert watcher.connected
    await watcher.close()
    assert not await is_let_in(embedded, secret)
    if how == "changed":
        assert await is_let_in(embedded, "new")


async def test_a_revoked_vehicle_without_a_will_is_offline(
    seeded: str, room: Database, embedded: RunningBroker
) -> None:
    settings = embedded.settings("svc-gateway")
    gateway = Gateway(room, SystemClock(), BusHolder(), settings, load(SigningSettings))
    heard = open_bus(
        settings, client_id="caas-gateway-0", subscriptions=[Subscription(f"{PREFIX}/+/presence")]
    )
    await heard.start()
    gateway.bus.bus = heard
    async with room.transaction() as conn:
        made = await registry.enroll(conn, vin=VIN, model="AURORA", firmware="2.4.1")
    assert made.secret is not None
    embedded.add_user(VIN, made.secret)
    with psycopg.connect(seeded) as conn:
        conn.execute(
            "UPDATE gateway.vehicle_state SET presence = 'ONLINE', session = 'one', boot = 3"
            " WHERE vin = %s",
            [VIN],
        )
    keeping = asyncio.create_task(Keeper(gateway, SETTINGS).run())
    async with signed_in(embedded, made.secret) as vehicle:
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)
        accounts = embedded.passwords.path.parent / "accounts.json"
        services = {name: embedded.secrets[name] for name in SERVICES}
        accounts.write_text(json.dumps(services))
        await sync_password_file(room, embedded.passwords.path, accounts)
        await ends(vehicle)
    async with asyncio.timeout(20):
        message = await anext(aiter(heard.messages()))
    said = decode(PresenceMessage, message.payload)
    assert (message.topic, said.state, said.session, said.boot) == (
        TOPIC,
        Presence.OFFLINE,
        "one",
        3,
    )
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    await heard.close()

    async def out() -> bool:
        return not await is_let_in(embedded, made.secret or "")

    await eventually(out, "it cannot come back")
