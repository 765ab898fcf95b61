"""What a platform leaves on the machine: processes, listening ports; and folders it can live in."""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from caas import embedded_pg
from caas.demo.layout import PREFERRED_PORTS
from caas.supervisor.ports import is_free
from caas.supervisor.processes import alive, wait_until

ROOT = Path(__file__).parents[2]
GONE_S = 10.0


@contextmanager
def place() -> Generator[Path]:
    """A folder that the user who runs PostgreSQL may pass through; gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="caas-e2e-"))
    base.chmod(0o711)
    try:
        yield base
    finally:
        for data in base.iterdir():
            if data.is_dir():
                embedded_pg.erase(data)
        shutil.rmtree(base)


def use_free_ports(data_dir: Path) -> dict[str, int]:
    """Have a demo in ``data_dir`` listen where no other demo of this machine wishes to.

    Below the ephemeral range, so that no outgoing connection takes one during a restart.
    """
    ports: dict[str, int] = {}
    while len(ports) < len(PREFERRED_PORTS):
        port = random.randrange(20_000, 32_000)
        if port not in ports.values() and is_free(port):
            ports[list(PREFERRED_PORTS)[len(ports)]] = port
    remembered = {name: [PREFERRED_PORTS[name], port] for name, port in ports.items()}
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / "ports.json").write_text(json.dumps(remembered), encoding="utf-8")
    return ports


def ports_of(data_dir: Path) -> list[int]:
    """Where the demo of this folder listened last."""
    remembered = json.loads((data_dir / "ports.json").read_text(encoding="utf-8"))
    return [port for _, port in remembered.values()]


def processes_naming(folder: Path) -> dict[int, str]:
    """Living processes with the folder in their command line or environment."""
    found = _from_proc(folder) if sys.platform.startswith("linux") else _from_ps(folder)
    return {pid: what for pid, what in found.items() if alive(pid)}


def assert_nothing_left(data_dir: Path) -> None:
    """No process and no listening port of the demo in ``data_dir``."""
    wait_until(lambda: not processes_naming(data_dir), GONE_S)
    assert processes_naming(data_dir) == {}
    wait_until(lambda: all(map(is_free, ports_of(data_dir))), GONE_S)
    assert [port for port in ports_of(data_dir) if not is_free(port)] == []


def _from_proc(folder: Path) -> dict[int, str]:
    found: dict[int, str] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            command = (process / "cmdline").read_bytes()
            environment = (process / "environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if os.fsencode(folder) in command + environment:
            found[int(process.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found


def _from_ps(folder: Path) -> dict[int, str]:
    shown = subprocess.run(
        ["ps", "-axEww", "-o", "pid=,command="], capture_output=True, text=True, check=True
    ).stdout
    lines = (line.split(maxsplit=1) for line in shown.splitlines() if str(folder) in line)
    return {int(pid): command for pid, command in lines}
