"""`caas up`: the services under one supervisor, on the database and broker of the settings."""

import asyncio
import os
import sys
from collections.abc import Sequence

from caas.services import find, settings_groups
from caas.settings import DataSettings
from caas.supervisor.child import Child, State
from caas.supervisor.supervisor import Supervisor
from core.settings import check_unknown, load

PLATFORM = ("gateway", "ota-engine", "telemetry", "api", "worker")


def run_up(also: Sequence[str]) -> None:
    """Run until a stop signal; a service that dies is started again."""
    check_unknown(settings_groups())
    asyncio.run(_up([find(name).name for name in (*PLATFORM, *also)]))


async def _up(names: Sequence[str]) -> None:
    async with Supervisor(load(DataSettings).dir.absolute() / "up", on_event=_say) as supervisor:
        await supervisor.start_all([_child(name) for name in names])
        await supervisor.wait()


def _child(name: str) -> Child:
    # Each service has its own CAAS_OPS_PORT only where it runs alone; here any free one does.
    env = {key: value for key, value in os.environ.items() if key != "CAAS_OPS_PORT"}
    return Child(name, [sys.executable, "-m", "caas", "run", name], env=env)


def _say(name: str, state: State, detail: str) -> None:
    sys.stderr.write(f"{name}: {state}{f' ({detail})' if detail else ''}\n")
