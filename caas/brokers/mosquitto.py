"""Prepares Mosquitto: finds the program and writes its files from those production uses."""

import os
import pwd
import shutil
from collections.abc import Mapping
from pathlib import Path

from caas.brokers.overlay import reset_accounts

DEFAULT_PREFIX = "caas/v1/vehicles"
PLACES = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
# Who Mosquitto becomes when root starts it, where the system has that user.
UNPRIVILEGED = "mosquitto"


def find_mosquitto() -> Path | None:
    """The program: on PATH, else where packages put it (Debian: /usr/sbin, not on every PATH)."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=os.pathsep.join(PLACES))
    return Path(found) if found else None


def source_file(name: str) -> Path:
    """A file of ``mosquitto/``: in the checkout, else in the installed package."""
    checkout = Path(__file__).parents[2] / "mosquitto" / name
    return checkout if checkout.is_file() else Path(__file__).parents[1] / "_data/mosquitto" / name


def acl_text(prefix: str) -> str:
    """The access rules with topics under ``prefix``."""
    return source_file("acl").read_text(encoding="utf-8").replace(DEFAULT_PREFIX, prefix)


def accounts_file(data_dir: Path) -> Path:
    """Where the plugin keeps the accounts that changed since the broker started."""
    return data_dir / "mosquitto" / "dynamic-security.json"


def render_config(
    data_dir: Path,
    *,
    host: str,
    port: int,
    passwords: Path,
    prefix: str = DEFAULT_PREFIX,
    plugin: Path | None = None,
) -> Path:
    """Write configuration, access rules and (where missing) an empty password file.

    ``plugin``: Mosquitto's dynamic security plugin, for accounts that change while it runs.
    Returns the configuration's path. Started by root, Mosquitto drops to its own user where that
    user can reach the files; they are handed to it. Where it cannot (a folder below a closed
    home), it stays root.
    """
    store = data_dir / "mosquitto"
    store.mkdir(parents=True, exist_ok=True)
    if not passwords.exists():
        passwords.parent.mkdir(parents=True, exist_ok=True)
        passwords.touch(mode=0o640)
    acl = store / "acl"
    acl.write_text(acl_text(prefix), encoding="utf-8")
    acl.chmod(0o640)
    config = store / "mosquitto.conf"
    text = source_file("mosquitto.conf").read_text(encoding="utf-8")
    overrides = {
        "listener": f"{port} {host}",
        "password_file": str(passwords.absolute()),
        "acl_file": str(acl.absolute()),
        "persistence_location": f"{store.absolute()}/",
    }
    if plugin is not None:
        accounts = accounts_file(data_dir)
        reset_accounts(accounts, passwords, follows=False)
        text += source_file("plugin.conf").read_text(encoding="utf-8")
        overrides |= {"plugin": str(plugin), "plugin_opt_config_file": str(accounts.absolute())}
    if os.geteuid() == 0:
        overrides["user"] = _hand_over(store, acl, passwords)
    config.write_text(override(text, overrides), encoding="utf-8")
    return config


def override(config: str, values: Mapping[str, str]) -> str:
    """``config`` with the directives in ``values`` replaced; those it does not have are added."""
    missing = dict(values)
    lines: list[str] = []
    for line in config.splitlines():
        name = line.split(" ", 1)[0]
        if name in values:
            line = f"{name} {missing.pop(name)}"  # noqa: PLW2901 - the line that is written
        lines.append(line)
    lines += [f"{name} {value}" for name, value in missing.items()]
    return "\n".join(lines) + "\n"


def _hand_over(store: Path, acl: Path, passwords: Path) -> str:
    """Give the files to Mosquitto's own user where it can reach them; whom to run as."""
    try:
        account = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        return "root"
    folders = {*store.absolute().parents, *passwords.absolute().parents}
    if not all(folder.stat().st_mode & 0o001 for folder in folders):
        return "root"
    # What an earlier run left belongs to whoever ran it.
    for path in (store, *store.iterdir(), acl, passwords):
        os.chown(path, account.pw_uid, account.pw_gid)
    return UNPRIVILEGED
