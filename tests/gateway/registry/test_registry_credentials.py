"""Certificates, revocations and the way back, on a real database."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from prometheus_client import REGISTRY

from core.clock import ManualClock, SystemClock
from core.db import Database
from core.db.pool import connect
from core.errors import Conflict, DomainError, Invalid
from core.ids import parse_vin
from core.settings import load
from gateway import registry
from gateway.registry.ca import init_authority, load_authority, read_crl, sign_request
from gateway.registry.credentials import Credential, Desk, enroll_with, rotate_with
from gateway.registry.crl import keep_crl, sync_crl
from gateway.registry.settings import CaSettings
from tests.gateway.conftest import OTHER_VIN, VIN, eventually
from tests.gateway.registry.requests import request

WEEK = timedelta(days=7)


def csr(vin: str | None = VIN) -> Credential:
    return Credential(csr=request(ed25519.Ed25519PrivateKey.generate(), vin))


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    now = SystemClock().now()
    init_authority(tmp_path / "ca", now, WEEK)
    return Desk(load(CaSettings, dir=tmp_path / "ca"), parse_vin, now, "cli:tester")


async def enroll(room: Database, desk: Desk, credential: Credential, vin: str = VIN, **more: Any):
    async with room.transaction() as conn:
        return await enroll_with(
            conn, desk, credential, vin=vin, model="AURORA", firmware="2.4.1", **more
        )


@contextlib.asynccontextmanager
async def heard(dsn: str) -> AsyncGenerator[Any]:
    """The VINs announced as revoked since the block began."""
    listener = await connect(dsn)
    try:
        await listener.execute("LISTEN gateway_revocations")

        async def vins() -> list[str]:
            return [n.payload async for n in listener.notifies(timeout=0.2)]

        yield vins
    finally:
        await listener.close()


async def test_a_vehicle_with_a_certificate_needs_no_secret(room: Database, desk: Desk) -> None:
    made = await enroll(room, desk, csr())
    assert made.secret is None
    assert made.certificate is not None
    async with room.transaction() as conn:
        shown = await registry.show(conn, VIN)
        (row,) = await registry.certificates(conn, VIN)
        done = await registry.events(conn, VIN)
    assert not shown.has_secret
    assert shown.certified_until == made.certificate.not_after
    assert (row.serial, row.own, row.revoked_at) == (made.certificate.serial, True, None)
    assert [(e.action, e.actor) for e in done] == [
        ("ENROLLED", "cli:tester"),
        ("CERTIFICATE_ISSUED", "cli:tester"),
    ]


async def test_nothing_is_enrolled_where_the_request_is_bad(room: Database, desk: Desk) -> None:
    with pytest.raises(Invalid):
        await enroll(room, desk, csr(OTHER_VIN))
    with pytest.raises(Conflict):
        await enroll(room, desk, csr(), transport="iot_api")
    async with room.transaction() as conn:
        assert await registry.list_vehicles(conn) == []


async def test_a_renewed_certificate_leaves_the_old_one_until_told(
    room: Database, desk: Desk, seeded: str
) -> None:
    await enroll(room, desk, csr())

    async def revoked() -> list[bool]:
        async with room.transaction() as conn:
            found = await registry.certificates(conn, VIN)
        return sorted(item.revoked_at is not None for item in found)

    async with heard(seeded) as vins:
        async with room.transaction() as conn:
            await rotate_with(conn, desk, csr(), vin=VIN)
        assert await revoked() == [False, False]
        assert await vins() == []
        async with room.transaction() as conn:
            third = await rotate_with(conn, desk, csr(), vin=VIN, revoke_others=True)
        assert await revoked() == [False, True, True]
        assert await vins() == [VIN]
    async with room.transaction() as conn:
        good = [c for c in await registry.certificates(conn, VIN) if c.revoked_at is None]
    assert third.certificate is not None
    assert [item.serial for item in good] == [third.certificate.serial]


async def test_every_credential_that_ends_is_announced(
    room: Database, desk: Desk, seeded: str
) -> None:
    async with heard(seeded) as vins:
        await enroll(room, desk, Credential())
        await enroll(room, desk, Credential(), OTHER_VIN)
        assert await vins() == []
        async with room.transaction() as conn:
            await registry.rotate_secret(conn, VIN)
        assert await vins() == [VIN]
        async with room.transaction() as conn:
            assert await registry.revoke(conn, OTHER_VIN, reason="stolen", actor="cli:tester")
            assert not await registry.revoke(conn, OTHER_VIN)
        assert await vins() == [OTHER_VIN]
    async with room.transaction() as conn:
        last = (await registry.events(conn, OTHER_VIN))[-1]
    assert (last.action, last.actor, last.detail["reason"]) == ("REVOKED", "cli:tester", "stolen")


async def test_a_revoked_vehicle_comes_back_with_new_credentials_only(
    room: Database, desk: Desk
) -> None:
    await enroll(room, desk, csr())
    async with room.transaction() as conn:
        await registry.revoke(conn, VIN)
    assert (await enroll(room, desk, Credential())).secret is None
    with pytest.raises(Conflict):
        await enroll(room, desk, csr())
    assert (await enroll(room, desk, Credential(), again=True)).secret is not None
    async with room.transaction() as conn:
        (old,) = await registry.certificates(conn, VIN)
        assert old.revoked_at is not None
        assert (await registry.show(conn, VIN)).enrolment == "ENROLLED"
        actions = [event.action for event in await registry.events(conn, VIN)]
    assert actions[-3:] == ["REVOKED", "REINSTATED", "SECRET_SET"]


async def test_an_external_certificate_is_registered_and_none_issued(
    room: Database, desk: Desk, tmp_path: Path
) -> None:
    asked = csr().csr
    assert asked is not None
    theirs = sign_request(desk.ca, VIN, asked, desk.now).pem.encode()
    with pytest.raises(Conflict):
        await enroll(room, desk, Credential(certificate=theirs))
    assert desk.ca.dir is not None
    settings = load(CaSettings, dir=tmp_path / "broker", bundle=desk.ca.dir / "ca.crt")
    operator = Desk(settings, parse_vin, desk.now, "cli:tester")
    made = await enroll(room, operator, Credential(certificate=theirs))
    assert made.certificate is not None
    assert not made.certificate.own
    for refused in (csr(), Credential(certificate=theirs), Credential(b"", b"")):
        with pytest.raises(DomainError):
            async with room.transaction() as conn:
                await rotate_with(conn, operator, refused, vin=VIN)


async def test_the_list_follows_every_revocation(room: Database, desk: Desk) -> None:
    assert desk.ca.dir is not None
    folder = desk.ca.dir
    made = await enroll(room, desk, csr())
    assert made.certificate is not None
    serial = int(made.certificate.serial, 16)
    # An hour between looks: only the announcements can be what it follows.
    keeping = asyncio.create_task(keep_crl(room, desk.ca, SystemClock(), 3600))

    async def listed(wanted: bool) -> None:
        async def holds() -> bool:
            crl = read_crl(folder)
            assert crl is not None
            assert crl.is_signature_valid(load_authority(folder).key.public_key())
            return (crl.get_revoked_certificate_by_serial_number(serial) is not None) == wanted

        await eventually(holds, f"the list has the certificate: {wanted}")

    async def counted() -> bool:
        value = REGISTRY.get_sample_value("caas_gateway_certificates", {"state": "good"})
        return value == 1

    try:
        await eventually(counted, "the certificate is counted")
        await listed(False)
        async with room.transaction() as conn:
            await registry.revoke(conn, VIN)
        await listed(True)
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})


async def test_the_list_is_renewed_before_it_ends(room: Database, desk: Desk) -> None:
    clock = ManualClock(SystemClock().now())
    assert not await sync_crl(room, desk.ca, clock)
    clock.advance(4 * 86400)
    assert await sync_crl(room, desk.ca, clock)
    assert not await sync_crl(room, desk.ca, clock)


async def test_an_external_authoritys_files_are_put_where_the_broker_reads(
    room: Database, desk: Desk, tmp_path: Path
) -> None:
    assert desk.ca.dir is not None
    there = tmp_path / "broker"
    settings = load(
        CaSettings, dir=there, bundle=desk.ca.dir / "ca.crt", bundle_crl=desk.ca.dir / "crl.pem"
    )
    assert await sync_crl(room, settings, SystemClock())
    assert not await sync_crl(room, settings, SystemClock())
    for name in ("ca.crt", "crl.pem"):
        assert (there / name).read_bytes() == (desk.ca.dir / name).read_bytes()


async def test_lists_are_filtered_and_paged(room: Database, desk: Desk) -> None:
    await enroll(room, desk, csr())
    await enroll(room, desk, Credential(), OTHER_VIN)
    async with room.transaction() as conn:
        await registry.revoke(conn, OTHER_VIN)

    async def found(**wanted: Any) -> list[str]:
        async with room.transaction() as conn:
            filters = registry.Filters(**wanted)
            return [v.vin for v in await registry.list_vehicles(conn, filters=filters)]

    assert await found() == [VIN, OTHER_VIN]
    assert await found(status="REVOKED") == [OTHER_VIN]
    assert await found(search=VIN[:16]) == [VIN]
    assert await found(model="NONE") == []
    assert await found(transport="iot_api") == []
    assert await found(ends_before=desk.now + timedelta(days=366)) == [VIN]
    assert await found(ends_before=desk.now + timedelta(days=30)) == []


def test_what_was_done_cannot_be_undone(seeded: str) -> None:
    with psycopg.connect(seeded, options="-c role=caas_gateway") as conn:
        for statement in (
            "DELETE FROM gateway.registry_event",
            "UPDATE gateway.registry_event SET actor = ''",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege), conn.transaction():
                conn.execute(statement)
