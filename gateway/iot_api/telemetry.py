"""Telemetry for clients: kept as it comes in, pushed to their URLs at least once (DOMAIN 9)."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import httpx
import msgspec

import core.log
from core.contracts.bus import TelemetryBatch, Unusable, decode
from core.db import Connection
from core.errors import DomainError
from gateway.iot_api.metrics import PUSHES, PUSHES_LOST, PUSHES_WAITING
from gateway.iot_api.outgoing import open_client, post
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.vehicles import QUERIES
from gateway.parts import Gateway, Telemetry

log = core.log.get(__name__)

_LEASE_S = 60.0


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
class _Due:
    push_id: int
    client_id: str
    vin: str
    boot: int
    n: int
    body: str
    telemetry_url: str
    callback_secret: str


class Outbox:
    """Puts what clients want into their queues, in the transaction that follows the messages."""

    def __init__(self, settings: IotApiSettings) -> None:
        self._settings = settings
        # Until it is known who wants what: looked up where it is queued.
        self._everything = True
        self._vins: frozenset[str] = frozenset()

    async def refresh(self, conn: Connection) -> None:
        """Read anew whose telemetry anybody wants."""
        rows = await conn.all(_Reach, QUERIES["telemetry_reach"])
        self._everything = any(row.everything for row in rows)
        self._vins = frozenset(vin for row in rows for vin in row.vins)

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
        pushes = [push for item in messages if (push := _push_of(item)) is not None]
        if not pushes:
            return
        lost = await conn.value(
            QUERIES["insert_pushes"],
            {
                "vins": [push.vin for push in pushes],
                "boots": [push.boot for push in pushes],
                "ns": [push.n for push in pushes],
                "bodies": [msgspec.json.encode(push).decode() for push in pushes],
                "most": self._settings.telemetry_most,
                "now": now,
            },
        )
        if lost:
            on_commit.append(lambda: PUSHES_LOST.labels("full").inc(lost))


class Pusher:
    """Sends what is queued, in any number of replicas."""

    def __init__(self, gateway: Gateway, settings: IotApiSettings, outbox: Outbox) -> None:
        self._gateway = gateway
        self._settings = settings
        self._outbox = outbox

    async def run(self, stop: asyncio.Event) -> None:
        """Send until ``stop``."""
        async with open_client(self._settings.callback_timeout_s) as client:
            while not stop.is_set():
                try:
                    async with self._gateway.database.transaction() as conn:
                        await self._outbox.refresh(conn)
                    if await self.push_due(client):
                        continue
                except DomainError as error:
                    log.warning("pushing telemetry interrupted", error=str(error))
                except Exception:
                    log.exception("pushing telemetry failed")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._settings.callback_poll_s)

    async def push_due(self, client: httpx.AsyncClient) -> int:
        """One round; how many were sent."""
        now = self._gateway.clock.now()
        async with self._gateway.database.transaction() as conn:
            oldest = now - timedelta(seconds=self._settings.telemetry_keep_s)
            expired = await conn.execute(QUERIES["expire_pushes"], {"oldest": oldest})
            lease = now + timedelta(seconds=_LEASE_S)
            due = await conn.all(_Due, QUERIES["claim_pushes"], {"now": now, "lease": lease})
            waiting = await conn.value(QUERIES["count_pushes"])
        PUSHES_LOST.labels("expired").inc(expired)
        PUSHES_WAITING.set(waiting)
        taken = await asyncio.gather(*(self._push(client, item) for item in due))
        by_client: defaultdict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for item, ok in zip(due, taken, strict=True):
            by_client[item.client_id][0 if ok else 1].append(item.push_id)
        for client_id, (done, failed) in by_client.items():
            await self._save(client_id, done, failed)
        return len(due)

    async def _push(self, client: httpx.AsyncClient, item: _Due) -> bool:
        sent = await post(
            client,
            item.telemetry_url,
            item.callback_secret,
            # The batch's own name: the same at each try, and if the vehicle sends it again.
            message_id=f"{item.vin}-{item.boot}-{item.n}",
            body=item.body,
            now=self._gateway.clock.now(),
        )
        if not sent.taken:
            log.warning("telemetry not taken", client_id=item.client_id, answer=sent.answer)
        PUSHES.labels("delivered" if sent.taken else "again").inc()
        return sent.taken

    async def _save(self, client_id: str, done: list[int], failed: list[int]) -> None:
        waits = self._settings.callback_waits_s
        async with self._gateway.database.transaction() as conn:
            await conn.execute(QUERIES["delete_pushes"], {"ids": done})
            if not failed:
                await conn.execute(QUERIES["end_pause"], {"client_id": client_id})
                return
            await conn.execute(QUERIES["release_pushes"], {"ids": failed})
            failures = await conn.value(QUERIES["count_failures"], {"client_id": client_id})
            wait_s = waits[min(failures or 0, len(waits) - 1)] if waits else 0.0
            next_at = self._gateway.clock.now() + timedelta(seconds=wait_s)
            await conn.execute(QUERIES["pause"], {"client_id": client_id, "next_at": next_at})


def _push_of(item: Telemetry) -> _Push | None:
    """The push of a message; None of one that cannot be used, which the telemetry quarantines."""
    try:
        decode(TelemetryBatch, item.payload)
        raw = msgspec.json.decode(item.payload, type=_Raw)
        bytes(raw.samples).decode()
    except (Unusable, msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return _Push(item.vin, raw.boot, raw.n, raw.samples)
