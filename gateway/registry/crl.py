"""The revocation list the broker reads: anew at each revocation, and before the old one ends."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
from cryptography import x509

import core.log
from core.clock import Clock
from core.db import Connection, Database
from core.db.pool import connect
from core.errors import Conflict, DomainError
from gateway import metrics
from gateway.registry.ca import (
    CA_CERTIFICATE,
    CRL,
    load_authority,
    put_crls,
    read_bundle,
    read_crl,
    replace_file,
    write_crl,
)
from gateway.registry.crl_dir import CRL_DIR
from gateway.registry.service import QUERIES
from gateway.registry.settings import CaSettings
from gateway.registry.x509 import Authority, Revoked

log = core.log.get(__name__)

RECHECK_S = 30.0
_RETRY_S = 1.0
# Many revocations at once make one list, not one each.
_GATHER_S = 0.2
# An entry stays for one list beyond its certificate's end (RFC 5280, 3.3).
_KEEP_EXPIRED = timedelta(days=90)
_STATES = ("good", "expiring", "expired", "revoked")


@dataclass(frozen=True, slots=True)
class _State:
    state: str
    number: int


async def read_revoked(conn: Connection, authority: Authority, now: datetime) -> list[Revoked]:
    """What belongs in the authority's revocation list."""
    issuer = authority.certificate.subject.rfc4514_string()
    return await conn.all(
        Revoked,
        QUERIES["revoked_certificates"],
        {"issuer": issuer, "ended": now - _KEEP_EXPIRED},
    )


def is_due(
    present: x509.CertificateRevocationList | None,
    authority: Authority,
    revoked: Sequence[Revoked],
    now: datetime,
) -> bool:
    """Whether the list in place must be made anew: it says something else, or is half through."""
    if present is None or not present.is_signature_valid(authority.key.public_key()):
        return True
    if {entry.serial_number for entry in present} != {int(entry.serial, 16) for entry in revoked}:
        return True
    start, end = present.last_update_utc, present.next_update_utc
    return end is None or now >= start + (end - start) / 2


async def sync_crl(database: Database, settings: CaSettings, clock: Clock) -> bool:
    """Bring the broker's files in step; False where they were. Conflict: there is no authority."""
    assert settings.dir is not None
    if settings.bundle is not None:
        return await asyncio.to_thread(_copy_external, settings)
    folder, authority = settings.dir, await asyncio.to_thread(load_authority, settings.dir)
    now = clock.now()
    async with database.transaction() as conn:
        revoked = await read_revoked(conn, authority, now)
    return await asyncio.to_thread(_write_due, folder, authority, revoked, now, settings)


async def keep_crl(
    database: Database, settings: CaSettings, clock: Clock, recheck_s: float = RECHECK_S
) -> None:
    """Keep the files in step until cancelled, through every absence of the database."""
    while True:
        try:
            await _follow(database, settings, clock, recheck_s)
        except Conflict as error:
            log.info("no revocation list", reason=error.message)
            await asyncio.sleep(recheck_s)
        except (DomainError, psycopg.Error, OSError, ValueError) as error:
            log.warning("the revocation list may be behind", error=str(error))
            await asyncio.sleep(_RETRY_S)


async def count_certificates(database: Database, settings: CaSettings, clock: Clock) -> None:
    """Set the gauges of certificates by state."""
    now = clock.now()
    soon = now + timedelta(days=settings.expiring_days)
    async with database.transaction() as conn:
        rows = await conn.all(_State, QUERIES["certificate_counts"], {"now": now, "soon": soon})
    numbers = {row.state: row.number for row in rows}
    for state in _STATES:
        metrics.CERTIFICATES.labels(state).set(numbers.get(state, 0))


async def _follow(database: Database, settings: CaSettings, clock: Clock, recheck_s: float) -> None:
    listener = await connect(database.dsn)
    try:
        # Listen first, then read: a revocation in between is announced.
        await listener.execute(QUERIES["listen_revocations"])
        while True:
            await sync_crl(database, settings, clock)
            await count_certificates(database, settings, clock)
            async for _ in listener.notifies(timeout=recheck_s, stop_after=1):
                await asyncio.sleep(_GATHER_S)
            async for _ in listener.notifies(timeout=0):
                pass
    finally:
        with contextlib.suppress(psycopg.Error):
            await listener.close()


def _write_due(
    folder: Path,
    authority: Authority,
    revoked: Sequence[Revoked],
    now: datetime,
    settings: CaSettings,
) -> bool:
    present = read_crl(folder)
    # Also where an older release has left no folder of them.
    due = is_due(present, authority, revoked, now) or not (folder / CRL_DIR).is_dir()
    if due:
        present = write_crl(folder, authority, revoked, now, settings.crl_validity)
        log.info("revocation list written", revoked=len(revoked))
        metrics.CRL_WRITES.inc()
    if present is not None and present.next_update_utc is not None:
        metrics.CRL_NEXT_UPDATE.set(present.next_update_utc.timestamp())
    return due


def _copy_external(settings: CaSettings) -> bool:
    """Put the operator's files where the broker reads; they are checked, not made, here."""
    assert settings.dir is not None
    assert settings.bundle is not None
    settings.dir.mkdir(parents=True, exist_ok=True)
    read_bundle(settings.bundle)
    changed = _copy(settings.bundle, settings.dir / CA_CERTIFICATE)
    if settings.bundle_crl is not None:
        crl = x509.load_pem_x509_crl(settings.bundle_crl.read_bytes())
        if crl.next_update_utc is not None:
            metrics.CRL_NEXT_UPDATE.set(crl.next_update_utc.timestamp())
        changed |= _copy_crls(settings.bundle_crl, settings.dir)
    return changed


def _copy_crls(source: Path, folder: Path) -> bool:
    data, target = source.read_bytes(), folder / CRL
    # Also where an older release has left no folder of them.
    if (folder / CRL_DIR).is_dir() and target.exists() and target.read_bytes() == data:
        return False
    put_crls(folder, data)
    return True


def _copy(source: Path, target: Path) -> bool:
    data = source.read_bytes()
    if target.exists() and target.read_bytes() == data:
        return False
    replace_file(target, data)
    return True
