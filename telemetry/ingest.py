"""From the bus to the disk: batches committed, then acknowledged, then receipted."""

import asyncio
import contextlib
import time
from collections.abc import Sequence

import core.log
from core.bus import Bus, BusUnavailable, Message, Properties, PublishFailed, Subscription
from core.bus.batches import batches, commit
from core.clock import Clock
from core.contracts.bus import Stored, TelemetryBatch, encode
from core.contracts.topics import Topic, filter_of, topic_of
from core.db import Database, is_content_error
from telemetry import metrics
from telemetry.decode import KINDS, Reader, Received
from telemetry.receipts import ReceiptQueue, receipt_of
from telemetry.settings import TelemetrySettings
from telemetry.store import Store, Written

log = core.log.get(__name__)

GROUP = "telemetry"
_RECEIPT_EXPIRY_S = 3600
_PUBLISHES_AT_ONCE = 64
_LOOK_S = 0.2


def subscriptions(prefix: str) -> list[Subscription]:
    """Everything vehicles say, shared among the ingestors."""
    return [Subscription(filter_of(prefix, topic), GROUP) for topic in KINDS]


class Ingestor:
    """The consumer; one for each connection to the bus."""

    def __init__(
        self,
        database: Database,
        bus: Bus,
        *,
        prefix: str,
        reader: Reader,
        settings: TelemetrySettings,
        clock: Clock,
    ) -> None:
        self.store = Store(database)
        self._bus = bus
        self._prefix = prefix
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._receipts = ReceiptQueue(settings.receipt_every_s)

    async def run(self, stop: asyncio.Event) -> None:
        """Store until ``stop``, then what has been received; returns with the receipts sent."""
        sending = asyncio.create_task(self._send_receipts())
        try:
            async for batch in batches(
                self._bus,
                stop,
                convert=self._read,
                weigh=lambda item: item.rows,
                most=self._settings.batch_rows,
                wait_s=self._settings.batch_wait_s,
                drain_s=self._settings.drain_s,
            ):
                try:
                    await self._store(batch, stop)
                except Exception:
                    if not stop.is_set():
                        raise
                    # Not acknowledged: the broker keeps it for the next start.
                    log.exception("stopping with a batch that could not be stored")
                    return
        finally:
            sending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await sending
            await self._send(everything=True)

    def _read(self, message: Message) -> Received:
        return self._reader.read(message, self._clock.now())

    async def _store(self, batch: Sequence[Received], stop: asyncio.Event) -> None:
        async for part, written in commit(
            batch,
            self._write,
            stop,
            is_content_error=is_content_error,
            refuse=lambda item, error: item.refused("UNSTORABLE", str(error)),
        ):
            for item in part:
                self._bus.ack(item.message)
            self._after(written)

    async def _write(self, batch: Sequence[Received]) -> Written:
        with metrics.BATCH_SECONDS.time():
            return await self.store.write(batch, self._clock.now())

    def _after(self, written: Written) -> None:
        metrics.SAMPLES.inc(written.samples)
        metrics.DUPLICATES.inc(written.duplicates)
        metrics.BATCH_ROWS.observe(sum(item.rows for item in written.messages))
        newest = 0
        for item in written.messages:
            if item.refusal is not None:
                metrics.QUARANTINED.labels(item.refusal.reason).inc()
                continue
            metrics.MESSAGES.labels(item.message.topic.rpartition("/")[2]).inc()
            if isinstance(item.body, TelemetryBatch):
                newest = max(newest, *(sample.t for sample in item.body.samples), 0)
        if newest:
            metrics.LAG.set(max(0.0, self._clock.now().timestamp() - newest / 1000))
        for known in written.receipts:
            stored = receipt_of(known.boot, known.received, self._settings.receipt_missing_max)
            if stored is None:
                metrics.RECEIPTS.labels("withheld").inc()
            else:
                self._receipts.add(known.vin, stored)

    async def _send_receipts(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await self._send()

    async def _send(self, *, everything: bool = False) -> None:
        if not self._bus.connected:
            return
        due = self._receipts.take_due(time.monotonic(), everything=everything)
        for start in range(0, len(due), _PUBLISHES_AT_ONCE):
            await asyncio.gather(
                *(self._publish(vin, stored) for vin, stored in due[start:][:_PUBLISHES_AT_ONCE])
            )

    async def _publish(self, vin: str, stored: Stored) -> None:
        topic = topic_of(self._prefix, vin, Topic.STORED)
        try:
            await self._bus.publish(
                topic, encode(stored), properties=Properties(expiry_s=_RECEIPT_EXPIRY_S)
            )
        except BusUnavailable:
            # The next receipt covers it too, but there may be no next message.
            self._receipts.add_again(vin, stored)
            metrics.RECEIPTS.labels("unsent").inc()
        except PublishFailed as refused:
            log.warning("receipt refused", vin=vin, reason=refused.reason)
            metrics.RECEIPTS.labels("refused").inc()
        else:
            metrics.RECEIPTS.labels("sent").inc()
