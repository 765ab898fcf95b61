"""What a vehicle still has to say: kept over lost connections, sent in order when there is one."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

import msgspec

import core.log
from core.bus import Bus, BusUnavailable, PublishFailed
from core.contracts.bus import ReportedConfig, VehicleEvent, VehicleStatus, encode
from core.contracts.topics import RETAINED, Topic, topic_of
from vehicle_sim.buffer import TelemetryBuffer
from vehicle_sim.tally import REFUSED, RESENT, Tally

log = core.log.get(__name__)

EVENTS_KEPT = 1000
RETRY_S = 0.5


class Outgoing:
    """Configuration and status are sent as they stand at that moment; events and telemetry wait."""

    def __init__(
        self,
        prefix: str,
        vin: str,
        *,
        buffer: TelemetryBuffer,
        resend_s: float,
        tally: Tally,
        config: Callable[[], ReportedConfig],
        status: Callable[[], VehicleStatus],
    ) -> None:
        self.buffer = buffer
        self._prefix, self._vin = prefix, vin
        self._resend_s = resend_s
        self._tally = tally
        self._config, self._status = config, status
        self._events: deque[VehicleEvent] = deque(maxlen=EVENTS_KEPT)
        self._config_due = self._status_due = False
        self._news = asyncio.Event()

    def topic(self, topic: Topic) -> str:
        return topic_of(self._prefix, self._vin, topic)

    # What is to be said

    def add_events(self, items: Iterable[object]) -> None:
        """Queue the events among ``items``."""
        self._events += [item for item in items if isinstance(item, VehicleEvent)]
        self._news.set()

    def due(self, *, config: bool = False, status: bool = False) -> None:
        """Configuration or status have changed, or are asked for."""
        self._config_due = self._config_due or config
        self._status_due = self._status_due or status
        self._news.set()

    def new_connection(self) -> None:
        """At every connect: configuration, status, and all telemetry without a receipt."""
        self.buffer.new_connection()
        self.due(config=True, status=True)

    def telemetry_changed(self) -> None:
        """There is a new batch, or one is to be sent again."""
        self._news.set()

    # Saying it

    async def send(self, bus: Bus) -> None:
        """Until cancelled: what is due first, then telemetry, oldest first."""
        loop = asyncio.get_running_loop()
        while True:
            if bus.connected:
                await self._send_due(bus)
                await self._send_telemetry(bus)
            self._news.clear()
            pause = self.buffer.silence_left(loop.time(), self._resend_s)
            if not await wait_for(self._news, pause) and self.buffer.nudge(
                loop.time(), self._resend_s
            ):
                RESENT.inc()

    async def _send_due(self, bus: Bus) -> None:
        while self._config_due or self._status_due or self._events:
            if self._config_due:
                self._config_due = False
                await self.deliver(bus, Topic.CONFIG, self._config())
            if self._status_due:
                self._status_due = False
                await self.deliver(bus, Topic.STATUS, self._status())
            if self._events:
                # Taken off only when the broker has it: the connection may go down for long.
                await self.deliver(bus, Topic.EVENT, self._events[0])
                self._events.popleft()

    async def _send_telemetry(self, bus: Bus) -> None:
        loop = asyncio.get_running_loop()
        while (batch := self.buffer.next_unsent()) is not None:
            batch.sent_at = loop.time()
            try:
                await bus.publish(self.topic(Topic.TELEMETRY), batch.payload)
            except BusUnavailable:
                batch.sent_at = None
                return
            except PublishFailed as refused:
                self._note_refused(Topic.TELEMETRY, refused)
            else:
                self._tally.count_sent(Topic.TELEMETRY)
            await self._send_due(bus)

    async def deliver(self, bus: Bus, topic: Topic, message: msgspec.Struct) -> None:
        """Until the broker has it: what is said here must not get lost; twice does no harm."""
        payload = encode(message)
        while True:
            try:
                await bus.publish(self.topic(topic), payload, retain=topic in RETAINED)
            except BusUnavailable:
                await asyncio.sleep(RETRY_S)
            except PublishFailed as refused:
                return self._note_refused(topic, refused)
            else:
                return self._tally.count_sent(topic)

    def _note_refused(self, topic: Topic, refused: PublishFailed) -> None:
        REFUSED.labels(topic.value).inc()
        log.warning("publish_refused", vin=self._vin, topic=topic, reason=refused.reason)


async def wait_for(event: asyncio.Event, seconds: float | None) -> bool:
    """True when ``event`` was set within ``seconds`` (None: for ever); it is cleared."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
