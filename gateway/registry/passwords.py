"""The broker's password file: who may sign in, in step with the registry within a second."""

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import psycopg

import core.log
from core.db import Connection, Database
from core.db.pool import connect
from core.errors import DomainError, SettingsError
from core.passwords import PasswordFile, hash_password, verify_password
from gateway.metrics import PASSWORD_WRITES
from gateway.registry.service import QUERIES

log = core.log.get(__name__)

# Many changes at once (an import) make one file, not one each.
_GATHER_S = 0.3
_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Secret:
    vin: str
    secret_hash: str


async def read_credentials(conn: Connection) -> dict[str, str]:
    """VIN → hash of every vehicle that may sign in."""
    rows = await conn.all(_Secret, QUERIES["credentials"])
    return {row.vin: row.secret_hash for row in rows}


def read_accounts(path: Path | None) -> dict[str, str]:
    """User → secret of the services; SettingsError where the file is not such an object."""
    if path is None:
        return {}
    try:
        loaded: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the accounts {path}: {error}") from None
    members = cast("dict[Any, Any]", loaded) if isinstance(loaded, dict) else {"": None}
    accounts = {user: secret for user, secret in members.items() if isinstance(secret, str)}
    if len(accounts) != len(members):
        raise SettingsError(f"the accounts {path} are not a JSON object of user and secret")
    # An empty secret would let everybody in as that service: there is no such account here.
    return {user: secret for user, secret in accounts.items() if secret}


def write_password_file(
    path: Path, vehicles: Mapping[str, str], accounts: Mapping[str, str]
) -> bool:
    """Make the file say exactly this; False where it does already.

    ``vehicles``: VIN → hash. ``accounts``: user → secret; the hash in the file stays while it fits,
    since a fresh one would differ each time.
    """
    file = PasswordFile(path)
    present = file.read()
    wanted = dict(vehicles)
    for user, secret in accounts.items():
        kept = present.get(user, "")
        wanted[user] = kept if verify_password(secret, kept) else hash_password(secret)
    if wanted == present and path.exists():
        return False
    file.write(wanted)
    PASSWORD_WRITES.inc()
    log.info("password file written", users=len(wanted))
    return True


async def sync_password_file(database: Database, path: Path, accounts_file: Path | None) -> bool:
    """Bring the file in step with the registry, once; False where it was."""
    async with database.transaction() as conn:
        vehicles = await read_credentials(conn)
    return await asyncio.to_thread(
        lambda: write_password_file(path, vehicles, read_accounts(accounts_file))
    )


async def keep_password_file(
    database: Database, path: Path, accounts_file: Path | None, recheck_s: float
) -> None:
    """Keep the file in step until cancelled, through every absence of the database."""
    while True:
        try:
            await _follow(database, path, accounts_file, recheck_s)
        except (DomainError, psycopg.Error, OSError, ValueError) as error:
            log.warning("the password file may be behind", error=str(error))
        await asyncio.sleep(_RETRY_S)


async def _follow(
    database: Database, path: Path, accounts_file: Path | None, recheck_s: float
) -> None:
    listener = await connect(database.dsn)
    try:
        # Listen first, then read: a change in between is announced.
        await listener.execute(QUERIES["listen"])
        while True:
            await sync_password_file(database, path, accounts_file)
            async for _ in listener.notifies(timeout=recheck_s, stop_after=1):
                await asyncio.sleep(_GATHER_S)
            async for _ in listener.notifies(timeout=0):
                pass
    finally:
        with contextlib.suppress(psycopg.Error):
            await listener.close()
