"""What a benchmark runs on: database, broker, enrolled vehicles, services and helpers by turns."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from caas import embedded_pg
from caas.bench.publishers import Plan, Published
from caas.brokers import Doors, plan_broker
from caas.database import migrate_database
from caas.demo.layout import HOST, PREFERRED_PORTS, Layout, Pace
from caas.demo.platform import PREFIX, erase, service_child
from caas.demo.prepare import FleetVehicle, prepare_platform
from caas.demo.secrets import load_or_make
from caas.supervisor.child import Child
from caas.supervisor.ports import free_port
from caas.supervisor.ready import tcp
from caas.supervisor.supervisor import Supervisor
from core.settings import DatabaseSettings, load

# So that a row's commit time can be asked for.
DATABASE_SETTINGS = {"track_commit_timestamp": "on"}


@dataclass(frozen=True)
class Helper:
    """A process that is told lines on its standard input and answers on its standard output."""

    _stdin: asyncio.StreamWriter
    _stdout: asyncio.StreamReader

    def tell(self, line: bytes) -> None:
        """Say a line."""
        self._stdin.write(line + b"\n")

    async def heard(self) -> bytes:
        """The next line; empty where it has ended."""
        return await self._stdout.readline()

    async def ask(self, message: msgspec.Struct) -> bytes:
        """Say ``message`` and hear the answer."""
        self.tell(msgspec.json.encode(message))
        return await self.heard()


@dataclass(frozen=True)
class Stage:
    """Database and broker that run, and vehicles the broker lets in; services by turns."""

    layout: Layout
    supervisor: Supervisor
    fleet: list[FleetVehicle]

    @asynccontextmanager
    async def service(self, name: str) -> AsyncGenerator[int]:
        """A service as the platform runs it; its process id."""
        await self.supervisor.start_all([service_child(self.layout, name)])
        pid = self.supervisor.pid(name)
        assert pid is not None
        try:
            yield pid
        finally:
            await self.supervisor.stop(name)

    @asynccontextmanager
    async def helper(
        self, module: str, env: Mapping[str, str] | None = None
    ) -> AsyncGenerator[Helper]:
        """A program of the benchmark as a process of its own, on the stage's broker."""
        bus = {"CAAS_MQTT_HOST": HOST, "CAAS_MQTT_PREFIX": PREFIX}
        bus["CAAS_MQTT_PORT"] = str(self.layout.ports["mqtt"])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, env={**os.environ, **bus, **(env or {})}, limit=2**27,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield Helper(process.stdin, process.stdout)
        finally:
            process.stdin.close()  # which ends it, wherever it is
            await process.wait()

    @asynccontextmanager
    async def publishers(self, plan: Plan) -> AsyncGenerator[Callable[[], Awaitable[Published]]]:
        """The vehicles, connected; the function publishes all and returns once it is confirmed."""
        async with self.helper("caas.bench.publishers") as helper:
            await helper.ask(plan)

            async def publish() -> Published:
                helper.tell(b"go")
                return msgspec.json.decode(await helper.heard(), type=Published)

            yield publish


@asynccontextmanager
async def stage(
    data_dir: Path, *, vehicles: int, settings: Mapping[str, str] | None = None
) -> AsyncGenerator[Stage]:
    """Start everything on an empty ``data_dir``, and leave nothing of it.

    ``settings``: of the services, beside those of the layout.
    """
    await asyncio.to_thread(erase, data_dir)
    async with Supervisor(data_dir) as supervisor:
        # Any free ones: near the well-known ones a demo that starts now would take them.
        ports = {name: free_port() for name in PREFERRED_PORTS}
        cluster = await asyncio.to_thread(embedded_pg.prepare, data_dir, port=ports["postgres"])
        await supervisor.start_all([cluster.child(DATABASE_SETTINGS)])
        layout = Layout(
            data_dir, ports, load_or_make(data_dir / "secrets.json"),
            Pace(settings or {}), cluster.dsn, "5",
        )  # fmt: skip
        await migrate_database(load(DatabaseSettings, dsn=cluster.dsn))
        fleet = await prepare_platform(layout, vehicles)
        broker = plan_broker(
            data_dir, host=HOST, port=ports["mqtt"], passwords=layout.passwords_file,
            prefix=PREFIX, prefer="mosquitto", doors=Doors(plain=ports["mqtt-vehicles"]),
        )  # fmt: skip
        ready = tcp(HOST, ports["mqtt"])
        await supervisor.start_all(
            [Child("broker", broker.argv, env={**os.environ, **broker.env}, ready=ready)]
        )
        yield Stage(layout, supervisor, fleet)
    erase(data_dir)
