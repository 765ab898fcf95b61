"""The vehicle of examples/vehicle-node, installed and driven as its README says."""

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caas.supervisor.processes import wait_until
from tests.e2e.stage import Stage
from tests.e2e.traces import ROOT
from tests.parts import require

EXAMPLE = ROOT / "examples" / "vehicle-node"
INSTALL_S = 240
SAID_S = 30.0
END_S = 20.0


def install(folder: Path) -> Path:
    """The example with its one dependency; the program."""
    require("node")
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(
        [str(require("npm")), "ci", "--no-audit", "--no-fund"],
        cwd=folder,
        check=True,
        timeout=INSTALL_S,
    )
    return folder / "vehicle.mjs"


@dataclass(frozen=True)
class NodeCar:
    """One run of the vehicle."""

    process: subprocess.Popen[str]
    log: Path

    def type(self, line: str) -> None:
        """As a person at its terminal."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def said(self, event: str) -> list[dict[str, Any]]:
        """Its log lines of one kind."""
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        whole = (json.loads(line) for line in lines if line.endswith("\n"))
        return [line for line in whole if line["event"] == event]

    def wait_said(self, event: str) -> None:
        """Until it has logged such a line."""
        assert wait_until(lambda: bool(self.said(event)), SAID_S), f"never said {event!r}"

    def results(self) -> list[str]:
        """Its answers to commands, oldest first."""
        return [line["result"] for line in self.said("answer")]


@contextmanager
def driven(
    stage: Stage, program: Path, vin: str, secret: str, *, protocol: str = "5"
) -> Generator[NodeCar]:
    """The vehicle on the platform's broker; it says goodbye at the end."""
    layout = stage.layout
    log = program.parent / f"{vin}.{time.monotonic_ns()}.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [
                str(require("node")),
                str(program),
                *("--broker", f"mqtt://127.0.0.1:{layout.ports['mqtt']}"),
                *("--vin", vin, f"--secret={secret}", "--protocol", protocol),
                *("--keys", layout.url("gateway") + "/.well-known/caas-command-keys.json"),
                *("--state", str(program.parent / f"{vin}.json")),
                *("--every", "1"),
            ],
            stdin=subprocess.PIPE,
            stdout=output,
            text=True,
        )
    with process:
        car = NodeCar(process, log)
        try:
            car.wait_said("online")
            yield car
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                code = process.wait(END_S)
            finally:
                process.kill()  # else the end of the block waits for it without a limit
    assert code == 0
