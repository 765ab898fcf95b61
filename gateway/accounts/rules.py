"""What must be said to the broker about a vehicle whose credentials changed: pure decisions."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from core.contracts.bus import Presence, PresenceMessage
from gateway.accounts.commands import (
    NOBODYS,
    Account,
    Command,
    end_connections,
    forget,
    is_tag,
    revoke,
    set_secret,
    tag_of,
)

REVOKED = "REVOKED"
OFFLINE = Presence.OFFLINE.value


@dataclass(frozen=True, slots=True)
class Registered:
    """A vehicle as the registry has it. ``changed_at``: its last change of secret or status.

    ``presence``, ``session``, ``boot``, ``last_seen_at``: as the gateway has them.
    """

    vin: str
    status: str
    secret_hash: str | None
    changed_at: datetime
    presence: str = OFFLINE
    session: str | None = None
    boot: int | None = None
    last_seen_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Base:
    """What the broker began with. ``written_at``: of its password file; None = not known.

    ``follows``: it reads the file again when it changes (Mosquitto from 2.1).
    """

    written_at: datetime | None
    follows: bool = False

    def has(self, changed_at: datetime) -> bool:
        """Whether a change of then is in what the broker has read."""
        return self.follows or (self.written_at is not None and changed_at <= self.written_at)


def read_base(description: str) -> Base:
    """From the description of the plugin's role: seconds, and ``follows`` where it does."""
    seconds, _, word = description.partition(" ")
    try:
        return Base(datetime.fromtimestamp(float(seconds)).astimezone(), word == "follows")
    except (ValueError, OverflowError, OSError):
        return Base(None)


def settle(
    row: Registered,
    account: Account | None,
    base: Base,
    now: datetime,
    grace: timedelta,
    *,
    new_secret: Callable[[], str] = secrets.token_urlsafe,
) -> list[Command]:
    """What is left to be said about a vehicle; nothing where the broker does what it should.

    Revoked: out at once. A new secret is brought by whoever made it, within ``grace``; where that
    did not happen the old one ends all the same, and the new one works once the broker has read the
    password file.
    """
    if row.status == REVOKED:
        return [] if account is not None and account.revoked else revoke(row.vin)
    if account is None:
        old_is_known = base.written_at is not None and not base.has(row.changed_at)
        if not old_is_known or now - row.changed_at < grace:
            return []
        return set_secret(row.vin, new_secret(), NOBODYS)
    usable = not account.disabled and not account.roles
    # What somebody else has put there is theirs.
    if usable and (account.tag == _wanted(row) or not is_tag(account.tag)):
        return []
    if now - row.changed_at < grace:
        return []
    if row.secret_hash is not None and base.has(row.changed_at):
        return forget(row.vin)
    return [] if usable and account.tag == NOBODYS else set_secret(row.vin, new_secret(), NOBODYS)


def is_settled(row: Registered, account: Account | None) -> bool:
    """Whether nobody is connected any more with what ended at ``changed_at``."""
    if account is None:
        return False
    if row.status == REVOKED:
        return account.revoked
    return account.tag in (_wanted(row), NOBODYS)


def farewell(
    row: Registered, *, settled: bool, now: datetime, will_wait: timedelta
) -> PresenceMessage | None:
    """What the vehicle's will would have said, where its connection was ended and none came.

    The broker sends no will for a connection it ends on demand. A vehicle that was heard of since
    its secret changed is back with the new one.
    """
    if row.presence == OFFLINE or row.session is None or row.boot is None or not settled:
        return None
    if now - row.changed_at < will_wait:
        return None
    back = row.last_seen_at is not None and row.last_seen_at > row.changed_at
    if row.status != REVOKED and back:
        return None
    return PresenceMessage(Presence.OFFLINE, now, row.session, row.boot)


def cut(vin: str, account: Account | None) -> list[Command]:
    """End what is connected; the account stays as it is."""
    return end_connections(vin) if account is not None else [*end_connections(vin), *forget(vin)]


def _wanted(row: Registered) -> str:
    return NOBODYS if row.secret_hash is None else tag_of(row.secret_hash)
