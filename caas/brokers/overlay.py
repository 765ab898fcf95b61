"""Mosquitto's dynamic security plugin: where it is, and the file its accounts begin with.

The plugin is an overlay over the password file: it holds what changed since the broker started
(docs/adr/0005-live-accounts.md), so it begins empty at each start.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from gateway.accounts.commands import DENIED, REVOKED_ROLE

PLUGIN = "mosquitto_dynamic_security.so"
_ACCESS = ("publishClientSend", "publishClientReceive", "subscribe", "unsubscribe")
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")
# Older ones corrupt their list of expiring sessions at SIGHUP, and crash some time later.
SIGHUP_SAFE = (2, 1)
# Whether the broker takes SIGHUP for a changed password file, for caas.brokers.start.
FOLLOWS, ONCE = "follows", "once"


def find_plugin(program: Path) -> Path | None:
    """The plugin of that Mosquitto: beside the program's folder, else where packages put it."""
    beside = program.resolve().parents[1]
    for folder in (beside / "lib", beside / "lib64", *map(Path, _LIBRARIES)):
        for found in (folder / PLUGIN, *sorted(folder.glob(f"*/{PLUGIN}"))):
            if found.is_file():
                return found
    return None


def version_of(program: Path) -> tuple[int, ...]:
    """Mosquitto's version, such as (2, 0, 11); (0,) where it does not say."""
    try:
        # The version is the first line of its help, whose exit status varies with the version.
        shown = subprocess.run([program, "-h"], capture_output=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return (0,)
    found = re.search(rb"mosquitto version (\d+(?:\.\d+)*)", shown)
    return tuple(int(part) for part in found.group(1).split(b".")) if found else (0,)


def initial_accounts(passwords: Path, *, follows: bool) -> str:
    """The plugin's file for a broker that is about to read ``passwords``.

    ``follows``: it reads it again whenever it changes.
    """
    written = passwords.stat().st_mtime if passwords.exists() else 0.0
    described = f"{written:.3f} follows" if follows else f"{written:.3f}"
    # Its description says how old the password file is: the gateway reads it there.
    revoked = {"rolename": REVOKED_ROLE, "textdescription": described, "acls": DENIED}
    return json.dumps(
        {
            "defaultACLAccess": dict.fromkeys(_ACCESS, False),
            "clients": [],
            "groups": [],
            "roles": [revoked],
        }
    )


def reset_accounts(path: Path, passwords: Path, *, follows: bool) -> None:
    """Put the plugin's file in place; its owner is the folder's, who the broker runs as."""
    temporary = path.with_suffix(".new")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(initial_accounts(passwords, follows=follows))
    if os.geteuid() == 0:
        folder = path.parent.stat()
        os.chown(temporary, folder.st_uid, folder.st_gid)
    temporary.replace(path)
