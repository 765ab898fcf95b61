"""What a benchmark of the ingest path runs on: database, broker, enrolled vehicles, publishers."""

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from caas import embedded_pg
from caas.bench.publishers import Plan, Published
from caas.brokers import plan_broker
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
class Stage:
    """Database and broker that run, and vehicles the broker lets in; the ingestor by turns."""

    layout: Layout
    supervisor: Supervisor
    fleet: list[FleetVehicle]

    @asynccontextmanager
    async def ingestor(self) -> AsyncGenerator[int]:
        """The telemetry service, as the platform runs it; its process id."""
        await self.supervisor.start_all([service_child(self.layout, "telemetry")])
        pid = self.supervisor.pid("telemetry")
        assert pid is not None
        try:
            yield pid
        finally:
            await self.supervisor.stop("telemetry")

    @asynccontextmanager
    async def publishers(self, plan: Plan) -> AsyncGenerator[Callable[[], Awaitable[Published]]]:
        """The vehicles, connected; the function publishes all and returns once it is confirmed."""
        env = {**os.environ, "CAAS_MQTT_HOST": HOST, "CAAS_MQTT_PREFIX": PREFIX}
        env["CAAS_MQTT_PORT"] = str(self.layout.ports["mqtt"])
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "caas.bench.publishers", env=env, limit=2**27,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        async def publish() -> Published:
            stdin.write(b"go\n")
            return msgspec.json.decode(await stdout.readline(), type=Published)

        try:
            stdin.write(msgspec.json.encode(plan) + b"\n")
            await stdout.readline()
            yield publish
        finally:
            stdin.close()  # which ends it, wherever it is
            await process.wait()


@asynccontextmanager
async def stage(data_dir: Path, *, vehicles: int) -> AsyncGenerator[Stage]:
    """Start everything on an empty ``data_dir``, and leave nothing of it."""
    await asyncio.to_thread(erase, data_dir)
    async with Supervisor(data_dir) as supervisor:
        # Any free ones: near the well-known ones a demo that starts now would take them.
        ports = {name: free_port() for name in PREFERRED_PORTS}
        cluster = await asyncio.to_thread(embedded_pg.prepare, data_dir, port=ports["postgres"])
        await supervisor.start_all([cluster.child(DATABASE_SETTINGS)])
        layout = Layout(
            data_dir, ports, load_or_make(data_dir / "secrets.json"), Pace({}), cluster.dsn, "5"
        )
        await migrate_database(load(DatabaseSettings, dsn=cluster.dsn))
        fleet = await prepare_platform(layout, vehicles)
        broker = plan_broker(
            data_dir, host=HOST, port=ports["mqtt"], passwords=layout.passwords_file,
            prefix=PREFIX, prefer="mosquitto",
        )  # fmt: skip
        ready = tcp(HOST, ports["mqtt"])
        await supervisor.start_all(
            [Child("broker", broker.argv, env={**os.environ, **broker.env}, ready=ready)]
        )
        yield Stage(layout, supervisor, fleet)
    erase(data_dir)
