"""The doors of Mosquitto beside the services' own: for vehicles, and where the log goes."""

import os
import resource
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from caas.brokers.mosquitto import source_file

_DOORS = 3
# Open files the broker needs for itself and for the services.
_OWN_FILES = 100
_TLS_FILES = ("ca.crt", "crl.pem", "server.crt", "server.key")


@dataclass(frozen=True, slots=True)
class Doors:
    """Where vehicles come in, and what is logged of it. A port of None is a door not there.

    ``ca_dir``: what ``caas ca init`` and ``caas ca server`` made. ``log``: the file that
    ``caas run broker-log`` reads, and empties; None = only errors and notices, on standard error.
    """

    plain: int | None = None  # without TLS: for this machine only
    certificates: int | None = None
    secrets: int | None = None
    ca_dir: Path | None = None
    log: Path | None = None
    # For each door; None = its share of the open files a process may have here.
    max_connections: int | None = None


def add_doors(config: Path, host: str, doors: Doors) -> dict[str, str]:
    """Add ``doors`` to a configuration that is written; the environment the broker needs."""
    limit = _share() if doors.max_connections is None else doors.max_connections
    text, environment = config.read_text(encoding="utf-8"), dict[str, str]()
    if doors.plain is not None:
        text += f"\nlistener {doors.plain} {host}\nuse_username_as_clientid true\n"
        text += f"max_connections {limit}\n"
    if doors.certificates is not None and doors.secrets is not None:
        text += "\n" + _tls(config.parent, host, doors, limit)
        environment["OPENSSL_CONF"] = str(source_file("openssl.cnf"))
    if doors.log is not None:
        doors.log.parent.mkdir(parents=True, exist_ok=True)
        doors.log.touch(mode=0o640)
        _give(doors.log, config.parent)
        lines = source_file("log.conf").read_text(encoding="utf-8")
        text += "\n" + lines.replace("/mosquitto/log/mosquitto.log", str(doors.log.absolute()))
    config.write_text(text, encoding="utf-8")
    return environment


def _tls(store: Path, host: str, doors: Doors, limit: int) -> str:
    assert doors.ca_dir is not None
    own = store.absolute() / "tls"
    own.mkdir(exist_ok=True)
    _give(own, store)
    for name in _TLS_FILES:
        shutil.copy(doors.ca_dir / name, own / name)
        _give(own / name, store)
    return _replaced(
        source_file("tls.conf").read_text(encoding="utf-8"),
        {
            "listener 8883": f"listener {doors.certificates} {host}",
            "listener 8884": f"listener {doors.secrets} {host}",
            "/mosquitto/run/tls": str(own),
            "/mosquitto/ca": str(doors.ca_dir.absolute()),
            "max_connections 100000": f"max_connections {limit}",
        },
    )


def _replaced(text: str, values: Mapping[str, str]) -> str:
    for old, new in values.items():
        assert old in text, f"mosquitto/tls.conf has no {old!r}"
        text = text.replace(old, new)
    return text


def _share() -> int:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 100_000 if files == resource.RLIM_INFINITY else max(10, (files - _OWN_FILES) // _DOORS)


def _give(path: Path, like: Path) -> None:
    """To whoever the broker runs as: who has its folder."""
    owner = like.stat()
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
