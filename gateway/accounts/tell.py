"""Tells the running broker what was just committed: by whoever made a secret, for it is hashed."""

from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_urlsafe

from core.errors import DomainError
from core.settings import BusSettings
from gateway.accounts.commands import NOBODYS, Command, add_account, revoke, set_secret, tag_of
from gateway.accounts.control import open_control
from gateway.accounts.settings import AccountsSettings

# Each rewrites the plugin's file, and the broker does nothing else meanwhile.
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret that was made; ``fresh``: the vehicle is new, so it replaces nothing."""

    vin: str
    secret: str
    secret_hash: str
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """One of many secrets, of a vehicle that is new: added in one step."""

    vin: str
    secret: str
    secret_hash: str


@dataclass(frozen=True, slots=True)
class Readmitted:
    """A vehicle that was revoked may sign in again, with a certificate."""

    vin: str


@dataclass(frozen=True, slots=True)
class Revoked:
    """A vehicle that is out."""

    vin: str


Change = Secret | Imported | Readmitted | Revoked


async def tell(
    changes: Sequence[Change], bus: BusSettings, settings: AccountsSettings
) -> str | None:
    """Tell the broker, after the commit. None, or one line on what has not happened yet.

    Nothing is lost where it fails: the gateway ends what may not sign in any more, and the password
    file has the rest.
    """
    if not changes or not follows(bus, settings):
        return None
    if not bus.username:
        return _missed(changes, "CAAS_MQTT_USERNAME is not set")
    try:
        async with open_control(bus, deadline_s=settings.deadline_s) as control:
            for start in range(0, len(changes), _CHUNK):
                chunk = changes[start : start + _CHUNK]
                await control.run([command for change in chunk for command in commands_of(change)])
    except DomainError as error:
        return _missed(changes, error.message)
    return None


def follows(bus: BusSettings, settings: AccountsSettings) -> bool:
    """Whether the broker is one that must be told; else it reads the password file by itself."""
    return settings.live and bus.protocol == "5"


def left_to_the_file(number: int) -> str:
    """One line on secrets that the broker is not told of."""
    return (
        f"{number} secrets work once the broker reads its password file: at its next start "
        "(Mosquitto 2.1: within seconds)"
    )


def commands_of(change: Change) -> list[Command]:
    """What the broker's plugin is told."""
    match change:
        case Imported(vin, secret, secret_hash):
            return add_account(vin, secret, tag_of(secret_hash))
        case Secret(vin, secret, secret_hash):
            return set_secret(vin, secret, tag_of(secret_hash))
        case Readmitted(vin):
            return set_secret(vin, token_urlsafe(), NOBODYS)
        case Revoked(vin):
            return revoke(vin)


def _missed(changes: Sequence[Change], reason: str) -> str:
    effects: list[str] = []
    if any(isinstance(change, Secret) and not change.fresh for change in changes):
        effects.append("what it replaces ends once the gateway reaches the broker")
    if any(isinstance(change, Secret | Imported) for change in changes):
        effects.append("a new secret works from the broker's next start (2.1: within seconds)")
    if any(isinstance(change, Readmitted | Revoked) for change in changes):
        effects.append("the gateway does it as soon as it reaches the broker")
    return f"the broker could not be told ({reason}): {'; '.join(effects)}"
