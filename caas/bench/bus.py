"""`caas bench bus`: commands through the platform to simulated vehicles and back."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from caas.bench.bare import Role, Seen, Wanted
from caas.bench.door import QUERIES, Door, Sent, latencies_ms, properties, publish_bare
from caas.bench.ingest import peak_rss_mib
from caas.bench.report import Result, percentile, rate_of
from caas.bench.stage import Helper, Stage, stage
from caas.demo.layout import HOST
from caas.demo.platform import PREFIX, service_child
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.port import Properties
from core.bus.reconnect import BusOptions
from core.contracts import bus as wire
from core.contracts.jws import sign
from core.db import Database
from core.ids import new_id
from core.keys import load_signing_keys
from core.settings import DatabaseSettings, load
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.state import UnitState
from vehicle_sim.unit import ControlUnit

PACED_PER_S = 200.0
STALLED_S = 30.0
SETTINGS = {
    "CAAS_SIM_STAGGER_S": "0.002",
    "CAAS_SIM_DRIVE_SHARE": "0",
    # Nothing but commands while it is measured.
    "CAAS_SIM_PARKED_S": "3600",
    "CAAS_SIM_RESEND_S": "3600",
    "CAAS_PRESENCE_SILENCE_S": "7200",
}
BARE, SAME_VEHICLES = "bare_clients", "same_vehicles"
Payload = tuple[str, bytes, Properties]


@dataclass
class Measured:
    """What the rounds gave; latencies in milliseconds, from publish to the gateway's commit."""

    rates: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    sent: int = 0
    stored: int = 0
    cpu_s: float = 0.0
    peak_rss_mib: float = 0.0
    accepted_ms: list[float] = field(default_factory=list[float])
    config_ms: list[float] = field(default_factory=list[float])
    bare: list[float] = field(default_factory=list[float])
    same_vehicles: list[float] = field(default_factory=list[float])


@dataclass(frozen=True)
class _Run:
    on: Stage
    door: Door
    admin: Database  # for when rows were committed
    vins: list[str]
    messages: int


async def run_bus(data_dir: Path, *, vehicles: int, messages: int, rounds: int) -> Result:
    """``rounds`` times: the platform at full speed and at 200/s, then both ceilings."""
    measured = Measured()
    async with AsyncExitStack() as stack:
        flash = stack.enter_context(TemporaryDirectory(prefix="caas-bench-", dir=_memory()))
        settings = {**SETTINGS, "CAAS_SIM_DATA_DIR": flash}
        on = await stack.enter_async_context(stage(data_dir, vehicles=vehicles, settings=settings))
        dsn = on.layout.dsn
        database = Database(load(DatabaseSettings, dsn=dsn, set_role=True), role="caas_ota")
        admin = Database(load(DatabaseSettings, dsn=dsn), role="caas")
        bus = Mqtt5Bus(
            BusOptions(
                "caas-bench", HOST, on.layout.ports["mqtt"], "svc-ota",
                on.layout.secrets.accounts()["svc-ota"], session_expiry_s=0,
            )
        )  # fmt: skip
        await database.open()
        await admin.open()
        await bus.start()
        try:
            key = load_signing_keys(on.layout.keys_file).current
            vins = [vehicle.vin for vehicle in on.fleet[:vehicles]]
            run = _Run(on, Door(database, bus, key, PREFIX), admin, vins, messages)
            for _ in range(rounds):
                await _with_simulator(run, measured)
                measured.bare.append(await _bare_clients(run))
        finally:
            await bus.close()
            await admin.close()
            await database.close()
    return _result(measured)


def _memory() -> Path | None:
    """Where the vehicles' files go: two thousand cars on one disk would measure that disk."""
    memory = Path("/dev/shm")  # noqa: S108 - a folder of our own is made below it
    return memory if memory.is_dir() else None


def _result(measured: Measured) -> Result:
    p50, p95, p99 = (percentile(measured.config_ms, share) for share in (0.5, 0.95, 0.99))
    accepted = [percentile(measured.accepted_ms, share) for share in (0.5, 0.95, 0.99)]
    more = {
        "latencies_at_per_s": PACED_PER_S,
        "accepted_p50_ms": accepted[0],
        "accepted_p95_ms": accepted[1],
        "accepted_p99_ms": accepted[2],
    }
    return Result(
        "bus", rate_of(measured.rates), "commands/s", round(measured.seconds, 2), p50, p95, p99,
        {BARE: rate_of(measured.bare), SAME_VEHICLES: rate_of(measured.same_vehicles)},
        measured.sent, measured.stored, measured.sent - measured.stored, 0,
        round(measured.cpu_s, 2), measured.peak_rss_mib or None, more,
    )  # fmt: skip


async def _with_simulator(run: _Run, measured: Measured) -> None:
    """The platform at both paces, and then the same vehicles without it."""
    supervisor, layout = run.on.supervisor, run.on.layout
    await supervisor.start_all([service_child(layout, name) for name in ("gateway", "sim")])
    try:
        await _until_connected(run)
        # The first one switches the option on; from then on each command brings the same back.
        await _settled(run, await run.door.at_full_speed(run.vins, 1), measured)
        await _full_speed(run, measured)
        await _paced(run, measured)
        measured.peak_rss_mib = max(
            measured.peak_rss_mib, peak_rss_mib(supervisor.pid("gateway") or 0)
        )
        await supervisor.stop("gateway")
        measured.same_vehicles.append(await _same_vehicles(run))
    finally:
        await supervisor.stop("sim")
        if supervisor.pid("gateway") is not None:
            await supervisor.stop("gateway")


async def _full_speed(run: _Run, measured: Measured) -> None:
    cpu_s = (await _metrics(run, "gateway"))["process_cpu_seconds_total"]
    sent = await run.door.at_full_speed(run.vins, run.messages)
    committed = await _settled(run, sent, measured)
    measured.cpu_s += (await _metrics(run, "gateway"))["process_cpu_seconds_total"] - cpu_s
    seconds = max(committed) - min(sent.at.values())
    measured.rates.append(len(sent.at) / seconds)
    measured.seconds += seconds


async def _paced(run: _Run, measured: Measured) -> None:
    sent = await run.door.paced(run.vins, PACED_PER_S)
    await _settled(run, sent, measured)
    answered = await _committed(run, sent, "bench_answered")
    reported = await _committed(run, sent, "bench_reported")
    measured.accepted_ms += latencies_ms(sent, answered)
    measured.config_ms += latencies_ms(sent, reported)


async def _settled(run: _Run, sent: Sent, measured: Measured) -> list[float]:
    """Wait until all of it is stored, or nothing moves any more; when it was committed."""
    seen, since = -1, time.monotonic()
    while seen != 0 and time.monotonic() - since < STALLED_S:
        async with run.admin.transaction() as conn:
            left = int(await conn.value(QUERIES["bench_waiting"], {"ids": list(sent.at)}))
        if left != seen:
            seen, since = left, time.monotonic()
        await asyncio.sleep(0.2)
    answered = await _committed(run, sent, "bench_answered")
    measured.sent += len(sent.at)
    measured.stored += len(answered)
    return [*answered.values(), *(await _committed(run, sent, "bench_reported")).values()]


async def _committed(run: _Run, sent: Sent, query: str) -> dict[str, float]:
    async with run.admin.transaction() as conn:
        rows = await conn.dicts(QUERIES[query], {"ids": list(sent.at)})
    return {row["command_id"]: float(row["committed"]) for row in rows}


async def _until_connected(run: _Run) -> None:
    seen, since = -1.0, time.monotonic()
    while seen < len(run.vins) and time.monotonic() - since < STALLED_S:
        found = (await _metrics(run, "sim")).get("caas_sim_vehicles/connected", 0.0)
        if found != seen:
            seen, since = found, time.monotonic()
        await asyncio.sleep(0.2)


async def _metrics(run: _Run, service: str) -> dict[str, float]:
    async with httpx.AsyncClient(timeout=30.0, trust_env=False) as client:
        text = (await client.get(f"{run.on.layout.url(service)}/metrics")).text
    return {
        "/".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def _same_vehicles(run: _Run) -> float:
    """The simulator between a bare publisher and a bare consumer.

    The commands are numbered and signed beforehand; what comes back is only counted.
    """
    last: dict[str, int] = {}
    payloads: list[Payload] = []
    for _ in range(run.messages):
        for first in range(0, len(run.vins), 500):
            for command in await run.door.admit(run.vins[first : first + 500]):
                last[command.vin] = command.seq
                signed = sign(command, run.door.key)
                payloads.append((command.vin, signed, properties(PREFIX, command)))
    async with run.on.helper("caas.bench.bare", _account(run.on)) as consumer:
        await consumer.ask(Role())
        return await _timed(run, consumer, payloads, Wanted(seq=last))


async def _bare_clients(run: _Run) -> float:
    """Bare vehicles that answer whatever comes with messages of the same size."""
    (command,) = await run.door.admit(run.vins[:1])
    signed, of = sign(command, run.door.key), properties(PREFIX, command)
    payloads = [(vin, signed, of) for _ in range(run.messages) for vin in run.vins]
    answer, config = _like_a_vehicles()
    fleet = [(vehicle.vin, vehicle.secret) for vehicle in run.on.fleet[: len(run.vins)]]
    async with (
        run.on.helper("caas.bench.bare", _account(run.on)) as consumer,
        run.on.helper("caas.bench.bare") as vehicles,
    ):
        await vehicles.ask(Role(fleet, answer.decode(), config.decode()))
        await consumer.ask(Role())
        return await _timed(run, consumer, payloads, Wanted(configs=len(payloads)))


async def _timed(run: _Run, consumer: Helper, payloads: Sequence[Payload], wanted: Wanted) -> float:
    counting = asyncio.ensure_future(consumer.ask(wanted))
    begin = await publish_bare(run.door.bus, PREFIX, payloads)
    seen = msgspec.json.decode(await counting, type=Seen)
    return seen.configs / (seen.ended - begin)


def _account(on: Stage) -> dict[str, str]:
    account = "svc-gateway"
    return {
        "CAAS_MQTT_USERNAME": account,
        "CAAS_MQTT_PASSWORD": on.layout.secrets.accounts()[account],
    }


def _like_a_vehicles() -> tuple[bytes, bytes]:
    """An answer and a configuration as a simulated vehicle sends them."""
    now = datetime.now(UTC)
    unit = ControlUnit("", firmware_of(seed_catalogue(), "AURORA"), UnitState())
    answer = wire.Answer(wire.Result.APPLIED, now, new_id(), 12)
    return wire.encode(answer), wire.encode(unit.config(now))
