"""`caas run broker-log`: tells who was refused at the broker, and passes the rest of its log on.

One structured line for each refusal (who: client id, user, address; what: topic or reason) and
`caas_broker_denials_total`. It only reads: the broker works the same while it is away.
"""

import asyncio
import time
from dataclasses import dataclass

from fastapi import FastAPI
from prometheus_client import Counter

import core.log
from caas.brokers.acl import parse_acl
from caas.brokers.broker_log import KINDS, Denial, Line, LogReader
from caas.brokers.log_file import follow
from caas.brokers.mosquitto import acl_text
from caas.brokers.settings import BrokerLogSettings
from core.errors import Unavailable
from core.ops import HttpServer, add_ops_routes
from core.settings import BusSettings, OpsSettings, load

log = core.log.get(__name__)

DENIALS = Counter("caas_broker_denials", "What the MQTT broker refused, by kind", ["kind"])
LOG_BYTES = Counter("caas_broker_log_bytes", "How much of the MQTT broker's log was read")


@dataclass
class _Seen:
    since: float
    count: int
    last: Denial


class Teller:
    """Logs refusals; of many alike (kind and client) the first ones, then how many more."""

    def __init__(self, most_lines: int, most_lines_s: float) -> None:
        self._most, self._within = most_lines, most_lines_s
        self._seen: dict[tuple[str, str | None], _Seen] = {}

    def tell(self, entry: Denial | Line, now: float) -> None:
        """Count and log it. ``now`` in seconds, as for :meth:`summarize`."""
        if isinstance(entry, Line):
            getattr(log, entry.level)("broker_said", line=entry.text)
            return
        DENIALS.labels(entry.kind).inc()
        key = (entry.kind, entry.client or _host(entry.address))
        seen = self._seen.setdefault(key, _Seen(now, 0, entry))
        seen.count, seen.last = seen.count + 1, entry
        if seen.count <= self._most:
            _log(entry)

    def summarize(self, now: float) -> None:
        """Tell of what was only counted, once its time is over."""
        over = [key for key, seen in self._seen.items() if now - seen.since >= self._within]
        for key in over:
            seen = self._seen.pop(key)
            if seen.count > self._most:
                _log(seen.last, more=seen.count - self._most)


class _File:
    """The health of the reading."""

    def __init__(self) -> None:
        self.trouble = ""

    async def check(self) -> None:
        """Unavailable while the log cannot be read."""
        if self.trouble:
            raise Unavailable("BROKER_LOG", self.trouble)


async def run(stop: asyncio.Event) -> None:
    """Read until ``stop``."""
    settings, ops = load(BrokerLogSettings), load(OpsSettings)
    for kind in KINDS:
        DENIALS.labels(kind)
    file = _File()
    app = FastAPI(title="CaaS broker log", docs_url=None, redoc_url=None, openapi_url=None)
    add_ops_routes(app, "broker-log", {"file": file.check})
    async with asyncio.TaskGroup() as group:
        group.create_task(HttpServer(app, ops.host, ops.port).run(stop))
        group.create_task(_read(settings, load(BusSettings).prefix, file, stop))


async def _read(settings: BrokerLogSettings, prefix: str, file: _File, stop: asyncio.Event) -> None:
    reader = LogReader(parse_acl(acl_text(prefix)))
    teller = Teller(settings.most_lines, settings.most_lines_s)
    summarizing = asyncio.create_task(_summarize(teller))
    try:
        while not stop.is_set():
            try:
                await _follow(settings, reader, teller, file, stop)
            except OSError as error:
                file.trouble = f"cannot read {settings.file}: {error.strerror}"
                log.warning("broker_log_unreadable", error=file.trouble)
                await asyncio.sleep(1.0)
    finally:
        summarizing.cancel()
        await asyncio.gather(summarizing, return_exceptions=True)
        teller.summarize(float("inf"))


async def _follow(
    settings: BrokerLogSettings,
    reader: LogReader,
    teller: Teller,
    file: _File,
    stop: asyncio.Event,
) -> None:
    keep = int(settings.keep_mib * 1024 * 1024)
    async for data in follow(settings.file, stop, every_s=settings.every_s, keep_bytes=keep):
        file.trouble = ""
        LOG_BYTES.inc(len(data))
        now = time.monotonic()
        for entry in reader.feed(data, now):
            teller.tell(entry, now)
        # A large backlog leaves room for the health page.
        await asyncio.sleep(0)


async def _summarize(teller: Teller) -> None:
    while True:
        await asyncio.sleep(1.0)
        teller.summarize(time.monotonic())


def _log(denial: Denial, more: int | None = None) -> None:
    extra = {} if more is None else {"more": more}
    log.warning(
        "broker_denied",
        kind=denial.kind,
        what=denial.what,
        client=denial.client,
        user=denial.user,
        address=denial.address,
        **extra,
    )


def _host(address: str | None) -> str | None:
    return None if address is None else address.rpartition(":")[0] or address
