"""Telemetry for clients: kept as it comes in, until it is sent to them (DOMAIN 9)."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from core.contracts.bus import TelemetryBatch, Unusable, check_sample_times, decode
from core.db import Connection
from gateway.iot_api.metrics import PUSHES_LOST, PUSHES_WAITING
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.vehicles import QUERIES
from gateway.parts import Telemetry


class _Raw(msgspec.Struct):
    """A batch whose samples stay as the vehicle wrote them."""

    boot: int
    n: int
    samples: msgspec.Raw


class _Push(msgspec.Struct):
    """TelemetryPush of the contract, with such samples."""

    vin: str
    boot: int
    n: int
    samples: msgspec.Raw


@dataclass(frozen=True, slots=True)
class _Reach:
    everything: bool
    vins: list[str]


@dataclass(frozen=True, slots=True)
class _Put:
    client_id: str
    lost: int
    put: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    client_id: str
    messages: int


class Outbox:
    """Puts what clients want into their queues, in the transaction that follows the messages."""

    def __init__(self, settings: IotApiSettings) -> None:
        self._settings = settings
        # Until it is known who wants what: looked up where it is queued.
        self._everything = True
        self._vins: frozenset[str] = frozenset()
        # How much waits for each client, as far as this replica knows: counting it for each batch
        # would cost more than queueing it.
        self._waiting: Counter[str] = Counter()

    async def refresh(self, conn: Connection) -> None:
        """Read anew whose telemetry anybody wants."""
        rows = await conn.all(_Reach, QUERIES["telemetry_reach"])
        self._everything = any(row.everything for row in rows)
        self._vins = frozenset(vin for row in rows for vin in row.vins)

    async def count(self, conn: Connection) -> None:
        """Count anew what waits, other replicas' work included."""
        rows = await conn.all(_Waiting, QUERIES["waiting_pushes"])
        self._waiting = Counter({row.client_id: row.messages for row in rows})
        PUSHES_WAITING.set(self._waiting.total())

    def gone(self, client_id: str, messages: int) -> None:
        """So many of a client's wait no longer."""
        self._waiting[client_id] -= messages

    def wants(self, vin: str) -> bool:
        """Whether it may be wanted: most vehicles' telemetry is not even looked at."""
        return self._everything or vin in self._vins

    async def take(
        self,
        conn: Connection,
        messages: Sequence[Telemetry],
        now: datetime,
        on_commit: list[Callable[[], None]],
    ) -> None:
        """Queue the batches; what a full queue has no room for is lost, and counted."""
        pushes = [push for item in messages if (push := _push_of(item, now)) is not None]
        if not pushes:
            return
        most = self._settings.telemetry_most
        rows = await conn.all(
            _Put,
            QUERIES["insert_pushes"],
            {
                "vins": [push.vin for push in pushes],
                "boots": [push.boot for push in pushes],
                "ns": [push.n for push in pushes],
                "bodies": [msgspec.json.encode(push).decode() for push in pushes],
                "full": [name for name, waiting in self._waiting.items() if waiting >= most],
                "now": now,
            },
        )
        on_commit.append(lambda: self._note(rows))

    def _note(self, rows: Sequence[_Put]) -> None:
        for row in rows:
            self._waiting[row.client_id] += row.put
            PUSHES_LOST.labels("full").inc(row.lost)


def _push_of(item: Telemetry, now: datetime) -> _Push | None:
    """The push of a message; None of one that cannot be used, which the telemetry quarantines."""
    try:
        batch = decode(TelemetryBatch, item.payload)
        check_sample_times([sample.t for sample in batch.samples], now)
        raw = msgspec.json.decode(item.payload, type=_Raw)
        bytes(raw.samples).decode()
    except (Unusable, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return _Push(item.vin, raw.boot, raw.n, raw.samples)
