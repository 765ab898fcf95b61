"""`caas bench ingest`: the telemetry path at full speed, beside a bare consumer and a bare COPY."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from psycopg.types.json import Jsonb

from caas.bench.publishers import Plan, Published, batch
from caas.bench.report import Result, percentile, rate_of
from caas.bench.stage import Stage, stage
from caas.demo.layout import HOST
from caas.demo.platform import PREFIX
from core.bus.mqtt5 import Mqtt5Bus
from core.bus.reconnect import BusOptions
from core.contracts.bus import TelemetryBatch
from core.db import Database, load_queries
from core.settings import DatabaseSettings, load
from telemetry.ingest import subscriptions

QUERIES = load_queries("caas")
COPY_BATCH = 2000  # as the ingestor's
STALLED_S = 20.0
_TYPES = ["int4", "timestamptz", *["float8"] * 11, "text", "jsonb"]
_EXTRA = Jsonb({"tyre_fl_kpa": 241.0}, dumps=msgspec.json.encode)


@dataclass
class Measured:
    """What the rounds of the measured path gave."""

    rates: list[float] = field(default_factory=list[float])
    latencies_ms: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    cpu_s: float = 0.0
    peak_rss_mib: float | None = None


async def run_ingest(
    data_dir: Path, *, vehicles: int, messages: int, samples: int, rounds: int
) -> Result:
    """``rounds`` times: the whole path, then both ceilings with the same messages."""
    measured, consumer, copy = Measured(), list[float](), list[float]()
    async with stage(data_dir, vehicles=vehicles) as on:
        database = Database(load(DatabaseSettings, dsn=on.layout.dsn), role="caas")
        await database.open()
        try:
            base_ms = int(time.time() * 1000) - rounds * messages * samples - 60_000
            for boot in range(rounds):
                fleet = [(vehicle.vin, vehicle.secret) for vehicle in on.fleet[:vehicles]]
                begin = base_ms + boot * messages * samples
                plan = Plan(fleet, boot, begin, messages, samples)
                await _measure(on, database, plan, measured)
                consumer.append(await _bare_consumer(on, plan))
                copy.append(await _bare_copy(database, plan))
            async with database.transaction() as conn:
                rows = int(await conn.value(QUERIES["bench_rows"]))
                stored = int(await conn.value(QUERIES["bench_stored"]))
        finally:
            await database.close()
    sent = rounds * vehicles * messages * samples
    p50, p95, p99 = (percentile(measured.latencies_ms, share) for share in (0.5, 0.95, 0.99))
    return Result(
        "ingest", rate_of(measured.rates), "samples/s", round(measured.seconds, 2), p50, p95, p99,
        {"bare_consumer": rate_of(consumer), "bare_copy": rate_of(copy)},
        sent, stored, sent - stored, rows - stored, round(measured.cpu_s, 2), measured.peak_rss_mib,
    )  # fmt: skip


async def _measure(on: Stage, database: Database, plan: Plan, measured: Measured) -> None:
    async with on.service("telemetry") as pid, on.publishers(plan) as publish:
        published = await publish()
        measured.cpu_s += await _until_stored(on, plan.messages * plan.samples * len(plan.fleet))
        measured.peak_rss_mib = max(measured.peak_rss_mib or 0.0, peak_rss_mib(pid)) or None
    async with database.transaction() as conn:
        commits = await conn.dicts(
            QUERIES["bench_commits"],
            {"base_ms": plan.base_ms, "samples": plan.samples, "messages": plan.messages},
        )
    begin = min(min(at) for at in published.at.values())
    seconds = max(row["committed"] for row in commits) - begin
    measured.rates.append(len(commits) * plan.samples / seconds)
    measured.seconds += seconds
    measured.latencies_ms += [_latency_ms(published, row) for row in commits]


def _latency_ms(published: Published, row: dict[str, float | str | int]) -> float:
    return (float(row["committed"]) - published.at[str(row["vin"])][int(row["n"])]) * 1000


async def _until_stored(on: Stage, wanted: int) -> float:
    """Wait until the ingestor has dealt with everything or stands still; its CPU seconds."""
    seen, since = -1.0, time.monotonic()
    async with httpx.AsyncClient(timeout=10.0, trust_env=False) as client:
        while True:
            text = (await client.get(f"{on.layout.url('telemetry')}/metrics")).text
            values = {
                sample.name: sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            stored = values["caas_telemetry_samples_stored_total"]
            if stored != seen:
                seen, since = stored, time.monotonic()
            if stored >= wanted or time.monotonic() - since > STALLED_S:
                return values.get("process_cpu_seconds_total", 0.0)
            await asyncio.sleep(0.1)


def peak_rss_mib(pid: int) -> float:
    """From Linux's /proc; 0 elsewhere."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(kib) / 1024, 1)


async def _bare_consumer(on: Stage, plan: Plan) -> float:
    """The same messages to a client that only acknowledges; it takes the ingestor's place."""
    account = "svc-telemetry"
    bus = Mqtt5Bus(
        BusOptions(
            # The ingestor's own name, with a session that ends: nothing is kept for it meanwhile.
            "caas-telemetry-0", HOST, on.layout.ports["mqtt"], account,
            on.layout.secrets.accounts()[account], subscriptions(PREFIX),
            receive_max=2000, session_expiry_s=0,
        )
    )  # fmt: skip
    await bus.start()
    wanted = plan.messages * len(plan.fleet)
    try:
        async with on.publishers(plan) as publish:
            publishing = asyncio.ensure_future(publish())
            incoming = bus.messages()
            for _ in range(wanted):
                async with asyncio.timeout(STALLED_S):
                    bus.ack(await anext(incoming))
            ended = time.time()
            published = await publishing
    finally:
        await bus.close()
    return wanted * plan.samples / (ended - min(min(at) for at in published.at.values()))


async def _bare_copy(database: Database, plan: Plan) -> float:
    """The same rows by COPY into a table like the samples' one, and nothing else."""
    batches: list[TelemetryBatch] = [batch(plan, n) for n in range(plan.messages)]
    rows = [
        (number, datetime.fromtimestamp(s.t / 1000, UTC), s.speed_kmh, s.soc_pct, s.odometer_km,
         s.lat, s.lon, s.heading_deg, s.battery_v, s.battery_temp_c, s.motor_temp_c, s.ambient_c,
         s.power_kw, "RUNNING", _EXTRA)
        for one in batches for number in range(len(plan.fleet)) for s in one.samples
    ]  # fmt: skip
    async with database.transaction() as conn:
        await conn.execute(QUERIES["bench_drop_copy"])
        await conn.execute(QUERIES["bench_make_copy"])
    begin = time.monotonic()
    for first in range(0, len(rows), COPY_BATCH):
        async with (
            database.transaction() as conn,
            conn.cursor() as cursor,
            cursor.copy(QUERIES["bench_copy"]) as copy,
        ):
            copy.set_types(_TYPES)
            for row in rows[first : first + COPY_BATCH]:
                await copy.write_row(row)
    return len(rows) / (time.monotonic() - begin)
