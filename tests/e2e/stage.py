"""A running platform as the tests see it: addresses, secrets, processes, database and commands."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from caas.demo.layout import BRISK, Layout
from caas.demo.platform import SERVICE_ORDER
from caas.demo.secrets import STAFF_PASSWORD, load_or_make
from caas.story.scene import Doors, Scene
from caas.story.timeline import Timeline
from core.ids import new_id
from tests.e2e.traces import ROOT, assert_nothing_left, place, use_free_ports

STOP_S = 60.0
Prepare = Callable[[Path, Mapping[str, int]], dict[str, str]]
COMMAND_S = 60.0


@dataclass(frozen=True)
class Stage:
    """The platform in ``layout.data_dir``, from the outside."""

    layout: Layout

    def pids(self) -> dict[str, int]:
        """The process of every part, as the supervisor wrote it down."""
        notes = (self.layout.data_dir / "run").glob("*.pid")
        return {n.stem: json.loads(n.read_text(encoding="utf-8"))["pid"] for n in notes}

    def health(self) -> dict[str, int]:
        """What ``/healthz`` of every service answers."""
        names = {name: "partners" if name == "partner-sims" else name for name in SERVICE_ORDER}
        with httpx.Client(trust_env=False, timeout=15) as client:
            return {
                name: client.get(f"{self.layout.url(port)}/healthz").status_code
                for name, port in names.items()
            }

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """What a query of ours finds in the database."""
        with (
            psycopg.connect(self.layout.dsn) as connection,
            connection.cursor(row_factory=dict_row) as cursor,
        ):
            return cursor.execute(query.encode(), values).fetchall()

    def caas(self, *arguments: str, **more: str) -> str:
        """What the command line says, with the settings an operator would export."""
        bus = {n: v for n, v in self.layout.environment("gateway").items() if "_MQTT_" in n}
        settings = {"CAAS_DB_DSN": self.layout.dsn, "CAAS_DB_SET_ROLE": "true", **bus, **more}
        done = subprocess.run(
            [sys.executable, "-m", "caas", *arguments],
            cwd=ROOT,
            env={**clean_environment(), **settings},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def enroll(self, vin: str, model: str = "AURORA", firmware: str = "2.4.1") -> str:
        """Enrol a vehicle as an operator does; its secret."""
        options = ("--model", model, "--firmware", firmware, "--json")
        made = json.loads(self.caas("vehicles", "enroll", vin, *options))
        assert made["vin"] == vin
        return made["secret"]

    def scene(self, *, platform: str = "AURORA") -> Scene:
        """A sale to be told on this platform, to a customer of its own."""
        layout = self.layout
        doors = Doors(
            api=layout.url("api"),
            partners=layout.url("partners"),
            sim=layout.url("sim"),
            dsn=layout.dsn,
            staff_password=STAFF_PASSWORD,
            max_retries=int(layout.pace.settings["CAAS_OTA_MAX_RETRIES"]),
        )
        mail = f"customer.{new_id().hex[-8:]}@customers.example"
        return Scene(doors, Timeline(), lambda _turn: None, mail, platform=platform)


@contextmanager
def stage(
    *, vehicles: int, prefer: str = "auto", prepare: Prepare = lambda _folder, _ports: {}
) -> Generator[Stage]:
    """The platform, started; stopped afterwards, and nothing of it left.

    ``prepare`` is given the data folder and the ports before the start, and gives more settings.
    """
    with place() as base:
        data_dir = base / "platform"
        ports = use_free_ports(data_dir)
        settings = json.dumps(prepare(data_dir, ports))
        program = [sys.executable, "-m", "tests.e2e.host"]
        host = subprocess.Popen(
            [*program, str(data_dir), str(vehicles), prefer, settings],
            cwd=ROOT,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            text=True,
        )
        with host:
            assert host.stdout is not None
            try:
                said = json.loads(host.stdout.readline() or "null")
                assert said is not None, "the platform did not start: see its standard error"
                secrets = load_or_make(data_dir / "secrets.json")
                yield Stage(Layout(data_dir, ports, secrets, BRISK, said["dsn"], said["protocol"]))
            finally:
                host.send_signal(signal.SIGTERM)
                code = host.wait(STOP_S)
        assert code == 0
        assert_nothing_left(data_dir)


def clean_environment() -> dict[str, str]:
    """Ours without the settings of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CAAS_")}
