"""What vehicles say: answers, configurations, presence and status, each in one transaction."""

import asyncio
import zlib

from structlog.contextvars import bound_contextvars

import core.log
from core.bus import Bus, Message
from core.contracts.bus import (
    Answer,
    Presence,
    PresenceMessage,
    ReportedConfig,
    Unusable,
    VehicleStatus,
    check_time,
    decode,
)
from core.contracts.topics import Topic, parse_topic
from core.errors import Unavailable
from ota_engine import answers, reports
from ota_engine.delivery import CameOnline, StatusSeen, decide
from ota_engine.metrics import MESSAGES, UNUSABLE
from ota_engine.repository import Interest
from ota_engine.steps import carry_out
from ota_engine.unit import Engine, Unit

log = core.log.get(__name__)

Body = Answer | ReportedConfig | PresenceMessage | VehicleStatus
KINDS: dict[Topic, type[Body]] = {
    Topic.ANSWER: Answer,
    Topic.CONFIG: ReportedConfig,
    Topic.PRESENCE: PresenceMessage,
    Topic.STATUS: VehicleStatus,
}
_TRIES = 3  # of a message that a defect of ours makes fail
_AWAY_S = 0.5  # between tries while the database does not answer


class Inbox:
    """Handles messages in order per vehicle, several vehicles at a time; commit, then ack."""

    def __init__(self, engine: Engine, bus: Bus, prefix: str) -> None:
        self._engine = engine
        self._bus = bus
        self._prefix = prefix
        self._ending = False
        self._lanes = [
            asyncio.Queue[Message](maxsize=64) for _ in range(engine.settings.inbox_lanes)
        ]

    async def run(self) -> None:
        """Handle messages until cancelled or until the bus is closed."""
        async with asyncio.TaskGroup() as group:
            lanes = [group.create_task(self._lane(lane)) for lane in self._lanes]
            try:
                async for message in self._bus.messages():
                    await self._lane_of(message.topic).put(message)
            finally:
                # A lane may lose a cancellation in the pool's wait_for (core/ending.py).
                self._ending = True
                for task in lanes:
                    task.cancel()

    def _lane_of(self, topic: str) -> asyncio.Queue[Message]:
        vehicle = topic.rpartition("/")[0]
        return self._lanes[zlib.crc32(vehicle.encode()) % len(self._lanes)]

    async def _lane(self, lane: asyncio.Queue[Message]) -> None:
        while not self._ending:
            message = await lane.get()
            if await self.take(message):
                self._bus.ack(message)

    async def take(self, message: Message) -> bool:
        """Handle one message for good: a database that is away is waited for.

        False where the inbox ends before that: the broker keeps the message.
        """
        tries = 0
        while True:
            try:
                await self.handle(message)
            except Unusable as error:
                UNUSABLE.labels(error.code).inc()
                log.warning("unusable message", topic=message.topic, reason=error.code)
            except Unavailable as error:
                log.warning("message waits for the database", error=str(error))
                if self._ending:
                    return False
                await asyncio.sleep(_AWAY_S)
                continue
            except Exception:
                tries += 1
                log.exception("message failed", topic=message.topic, tries=tries)
                if tries < _TRIES:
                    continue
                # Every wait has a timer, so losing what this message says delays, not breaks.
                MESSAGES.labels("any", "failed").inc()
            return True

    async def handle(self, message: Message) -> None:
        """One message, one transaction; Unusable where nothing can be done with it."""
        parsed = parse_topic(self._prefix, message.topic)
        if parsed is None or parsed[1] not in KINDS:
            raise Unusable("BAD_TOPIC", message.topic)
        vin, kind = parsed
        body = decode(KINDS[kind], message.payload)
        check_time(body.at, self._engine.clock.now())

        async def work(unit: Unit) -> None:
            interest = await unit.repo.interest(vin)
            if not interest.known:
                raise Unusable("UNKNOWN_VIN", vin)
            outcome = await self._take(unit, vin, body, message, interest)
            unit.after_commit(MESSAGES.labels(kind.value, outcome).inc)

        with bound_contextvars(vin=vin):
            await self._engine.run(vin, work)

    async def _take(
        self, unit: Unit, vin: str, body: Body, message: Message, interest: Interest
    ) -> str:
        if isinstance(body, Answer):
            return await answers.take(unit, vin, body)
        if isinstance(body, ReportedConfig):
            if not (interest.open or interest.watched):
                return "no_delivery"
            return await reports.take(unit, vin, body, live=not message.retain)
        if not interest.open:
            return "no_delivery"
        if isinstance(body, PresenceMessage):
            return await _presence(unit, vin, body)
        return await _status(unit, vin, body, live=not message.retain)


async def _presence(unit: Unit, vin: str, body: PresenceMessage) -> str:
    if body.state is not Presence.ONLINE:
        return "noted"
    for delivery in await unit.repo.open_deliveries(vin):
        decision = decide(delivery, CameOnline(), unit.now, unit.policy)
        await carry_out(unit, delivery, decision)
    return "handled"


async def _status(unit: Unit, vin: str, body: VehicleStatus, *, live: bool) -> str:
    event = StatusSeen(body.operational, body.at, live)
    for delivery in await unit.repo.open_deliveries(vin):
        decision = decide(delivery, event, unit.now, unit.policy)
        await carry_out(unit, delivery, decision, status=body)
    return "handled"
