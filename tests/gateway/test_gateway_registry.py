"""Enrolling, secrets and the broker's password file, on a real database."""

import asyncio
import json
from pathlib import Path

import pytest

from core.db import Database
from core.errors import Conflict, Invalid, NotFound, SettingsError
from core.passwords import PasswordFile, verify_password
from gateway import registry
from gateway.registry.passwords import keep_password_file, read_accounts, sync_password_file
from tests.gateway.conftest import OTHER_VIN, VIN, eventually


async def enroll(room: Database, vin: str = VIN, **options: object) -> registry.Enrolment:
    async with room.transaction() as conn:
        return await registry.enroll(conn, vin=vin, model="AURORA", firmware="2.4.1", **options)  # pyright: ignore[reportArgumentType]


async def hashes(room: Database) -> dict[str, str]:
    async with room.transaction() as conn:
        rows = await conn.dicts("SELECT vin, secret_hash FROM gateway.vehicle")
    return {row["vin"]: row["secret_hash"] for row in rows}


async def test_a_secret_is_shown_once_and_kept_as_a_hash(room: Database) -> None:
    first = await enroll(room, VIN.lower())
    assert first.vin == VIN
    assert first.secret is not None
    assert len(first.secret) == 48
    assert first.secret.isalnum()
    assert verify_password(first.secret, (await hashes(room))[VIN])
    assert await enroll(room) == registry.Enrolment(VIN, None)
    assert verify_password(first.secret, (await hashes(room))[VIN])


async def test_a_vehicle_enrolled_by_the_factory_gets_its_secret_later(room: Database) -> None:
    assert (await enroll(room, credential=False)).secret is None
    assert (await enroll(room, secret="chosen")).secret == "chosen"
    assert (await enroll(room, OTHER_VIN, transport="iot_api")).secret is None


async def test_rotating_and_revoking(room: Database) -> None:
    first = await enroll(room)
    async with room.transaction() as conn:
        second = await registry.rotate_secret(conn, VIN)
    assert second.secret is not None
    assert second.secret != first.secret
    assert verify_password(second.secret, (await hashes(room))[VIN])
    async with room.transaction() as conn:
        await registry.revoke(conn, VIN)
        await registry.revoke(conn, VIN)
        assert (await registry.show(conn, VIN)).enrolment == "REVOKED"
    with pytest.raises(Conflict):
        async with room.transaction() as conn:
            await registry.rotate_secret(conn, VIN)
    assert await enroll(room) == registry.Enrolment(VIN, None)
    assert await hashes(room) == {VIN: None}


@pytest.mark.parametrize(
    ("vin", "model", "transport", "code"),
    [
        ("VF1AURORA00000017", "AURORA", "mqtt", "INVALID_VIN"),
        (VIN, "NONE", "mqtt", "UNKNOWN_MODEL"),
        (VIN, "AURORA", "pigeon", "UNKNOWN_TRANSPORT"),
    ],
)
async def test_what_cannot_be_enrolled(
    room: Database, vin: str, model: str, transport: str, code: str
) -> None:
    with pytest.raises(Invalid) as refused:
        async with room.transaction() as conn:
            await registry.enroll(conn, vin=vin, model=model, firmware="2.4.1", transport=transport)
    assert refused.value.code == code


async def test_listing_goes_on_where_it_stopped(room: Database) -> None:
    await enroll(room)
    await enroll(room, OTHER_VIN)
    async with room.transaction() as conn:
        (first,) = await registry.list_vehicles(conn, limit=1)
        rest = await registry.list_vehicles(conn, after=first.vin)
        assert [first.vin, *(vehicle.vin for vehicle in rest)] == [VIN, OTHER_VIN]
        assert await registry.list_vehicles(conn, presence="ONLINE") == []
        with pytest.raises(NotFound):
            await registry.show(conn, "VF1AURXRA00000033")


async def test_the_password_file_has_vehicles_and_services(room: Database, tmp_path: Path) -> None:
    enrolment = await enroll(room)
    await enroll(room, OTHER_VIN, credential=False)
    path, accounts = tmp_path / "passwords", tmp_path / "accounts.json"
    accounts.write_text(json.dumps({"svc-ota": "its secret"}), encoding="utf-8")
    assert await sync_password_file(room, path, accounts)
    users = PasswordFile(path).read()
    assert set(users) == {VIN, "svc-ota"}
    assert verify_password(enrolment.secret or "", users[VIN])
    assert verify_password("its secret", users["svc-ota"])
    assert not await sync_password_file(room, path, accounts)
    accounts.write_text(json.dumps({"svc-ota": "another"}), encoding="utf-8")
    assert await sync_password_file(room, path, accounts)


@pytest.mark.parametrize("text", ["", "[]", '{"svc-ota": 1}'])
def test_an_accounts_file_of_another_shape_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError):
        read_accounts(path)


async def test_the_password_file_follows_every_change(room: Database, tmp_path: Path) -> None:
    file = PasswordFile(tmp_path / "passwords")
    # An hour between looks: only the announcements can be what it follows.
    keeping = asyncio.create_task(keep_password_file(room, file.path, None, 3600))

    async def says(*vins: str) -> None:
        async def holds() -> bool:
            return set(file.read()) == set(vins)

        await eventually(holds, f"the file has {vins}")

    try:
        await enroll(room)
        await says(VIN)
        await enroll(room, OTHER_VIN)
        await says(VIN, OTHER_VIN)
        before = file.read()[VIN]
        async with room.transaction() as conn:
            await registry.rotate_secret(conn, VIN)

        async def changed() -> bool:
            return file.read()[VIN] != before

        await eventually(changed, "the file has the new secret")
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)
        await says(OTHER_VIN)
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
