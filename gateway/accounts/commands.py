"""What the broker's dynamic security plugin is told about one account: pure decisions (ADR 5).

Every list is safe to send again. An account without roles has the rights of the access rules.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Command = dict[str, Any]

# Takes every right away, those of a certificate as well. caas/brokers/overlay.py makes it with the
# plugin's file.
REVOKED_ROLE = "revoked"
DENIED = [
    {"acltype": kind, "topic": "#", "priority": 0, "allow": False}
    for kind in (
        "publishClientSend",
        "publishClientReceive",
        "subscribePattern",
        "unsubscribePattern",
    )
]
# In an account whose secret nobody has: the old one ended, the new one is not known here.
NOBODYS = "unknown"


@dataclass(frozen=True, slots=True)
class Account:
    """What the plugin says of an account. ``tag``: which secret it holds (:func:`tag_of`)."""

    user: str
    tag: str
    disabled: bool
    roles: tuple[str, ...]

    @property
    def revoked(self) -> bool:
        """Whether it can neither sign in nor, where it has a certificate, say or hear anything."""
        return self.disabled and REVOKED_ROLE in self.roles


def tag_of(secret_hash: str) -> str:
    """Names a secret by its hash, without being of use to anybody who guesses at it."""
    return hashlib.sha256(secret_hash.encode()).hexdigest()[:32]


def is_tag(text: str) -> bool:
    """Whether an account's description is one of ours."""
    return text == NOBODYS or re.fullmatch("[0-9a-f]{32}", text) is not None


def set_secret(user: str, secret: str, tag: str) -> list[Command]:
    """From now on ``user`` signs in with ``secret`` alone; an open connection of it ends."""
    return [
        {"command": "createClient", "username": user},
        {
            "command": "modifyClient",
            "username": user,
            "password": secret,
            "textdescription": tag,
            "roles": [],
        },
        {"command": "enableClient", "username": user},
    ]


def add_account(user: str, secret: str, tag: str) -> list[Command]:
    """As :func:`set_secret` for an account that is new, in one step; it ends no connection."""
    return [
        {
            "command": "createClient",
            "username": user,
            "password": secret,
            "textdescription": tag,
        }
    ]


def revoke(user: str) -> list[Command]:
    """``user`` is out at once, whichever way it signs in."""
    return [
        {"command": "createClient", "username": user},
        {"command": "disableClient", "username": user},
        {"command": "modifyClient", "username": user, "roles": [{"rolename": REVOKED_ROLE}]},
    ]


def end_connections(user: str) -> list[Command]:
    """Its open connections end; what it signs in with next is for the broker to judge."""
    return [
        {"command": "createClient", "username": user},
        {"command": "modifyClient", "username": user},
    ]


def forget(user: str) -> list[Command]:
    """The password file decides about ``user`` again; an open connection of it ends."""
    return [{"command": "deleteClient", "username": user}]


def make_role() -> list[Command]:
    """The role :func:`revoke` gives, where the plugin's file did not bring it."""
    return [{"command": "createRole", "rolename": REVOKED_ROLE, "acls": DENIED}]


def is_harmless(response: Command) -> bool:
    """Whether an error only says that there was nothing to do."""
    return str(response.get("error")) in (
        "Client already exists",
        "Client not found",
        "Role already exists",
    )


def read_accounts(listed: Sequence[Any]) -> list[Account]:
    """What a verbose ``listClients`` names, or a ``getClient``."""
    return [
        Account(
            user=str(item.get("username", "")),
            tag=str(item.get("textdescription", "")),
            disabled=bool(item.get("disabled", False)),
            roles=tuple(str(role.get("rolename", "")) for role in item.get("roles", ())),
        )
        for item in listed
    ]
