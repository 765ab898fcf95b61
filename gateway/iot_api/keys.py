"""What clients of the IoT API prove themselves with beside a token: HMAC keys, certificates."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.db import Connection
from core.errors import Conflict, NotFound
from gateway.iot_api.clients import SECRET_BYTES, Caller, find
from gateway.iot_api.vehicles import QUERIES

_KEY_ID_BYTES = 8


@dataclass(frozen=True, slots=True)
class NewKey:
    """Shown this once."""

    key_id: str
    secret: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key that counts, and whose it is."""

    client_id: str
    scopes: list[str]
    every_vehicle: bool
    secret: str

    @property
    def caller(self) -> Caller:
        """Who signs with it."""
        return Caller(self.client_id, self.scopes, self.every_vehicle)


async def add_key(conn: Connection, client_id: str, *, now: datetime, overlap_s: float) -> NewKey:
    """A new HMAC key; earlier ones end after ``overlap_s`` seconds. NotFound: no such client."""
    await find(conn, client_id)
    until = now + timedelta(seconds=overlap_s)
    await conn.execute(QUERIES["end_keys"], {"client_id": client_id, "until": until})
    made = NewKey(secrets.token_hex(_KEY_ID_BYTES), secrets.token_hex(SECRET_BYTES))
    row = {"key_id": made.key_id, "client_id": client_id, "secret": made.secret, "now": now}
    await conn.execute(QUERIES["insert_key"], row)
    return made


async def find_key(conn: Connection, key_id: str, now: datetime) -> Key | None:
    """The key of that name; None where there is none, its time is over, or its client revoked."""
    return await conn.one_or_none(Key, QUERIES["by_key"], {"key_id": key_id, "now": now})


async def add_certificate(
    conn: Connection, client_id: str, fingerprint: bytes, *, now: datetime
) -> None:
    """Let whoever has this certificate in as the client. NotFound; Conflict: it is another's."""
    await find(conn, client_id)
    row = {"fingerprint": fingerprint, "client_id": client_id, "now": now}
    if not await conn.execute(QUERIES["insert_certificate"], row):
        raise Conflict("CERTIFICATE_TAKEN", "this certificate belongs to another client")


async def remove_certificate(conn: Connection, client_id: str, fingerprint: bytes) -> None:
    """It lets nobody in any more; NotFound where it did not."""
    row = {"fingerprint": fingerprint, "client_id": client_id}
    if not await conn.execute(QUERIES["delete_certificate"], row):
        raise NotFound("UNKNOWN_CERTIFICATE", f"{client_id!r} has no such certificate")


async def by_certificate(conn: Connection, fingerprint: bytes) -> Caller | None:
    """Whose certificate it is."""
    return await conn.one_or_none(Caller, QUERIES["by_certificate"], {"fingerprint": fingerprint})
