"""Messages on their way to the broker: not yet sent, or sent and not yet confirmed."""

import asyncio
from collections import deque
from dataclasses import dataclass

from core.bus.port import BusUnavailable, Properties, PublishFailed

MAX_PACKET_ID = 65_535
# A broker that cuts the line for a message (too large, malformed in its eyes) would do so for ever,
# and take along what is sent with it. So what was in flight at two breaks goes out alone, and at
# the third break it is given up: it, and nothing else, broke the line.
ALONE_AFTER = 2


@dataclass(slots=True, eq=False)
class Outgoing:
    """One message; ``done`` resolves when the broker confirmed, refused, or the caller gave up."""

    topic: str
    payload: bytes
    retain: bool
    properties: Properties
    done: asyncio.Future[None]
    packet_id: int = 0
    again: bool = False
    queued: bool = True
    # On how many connections it was sent.
    sends: int = 0


class Outbox:
    """Keeps order, packet identifiers and what to send again after a reconnect."""

    def __init__(self) -> None:
        self._unsent: deque[Outgoing] = deque()
        self._in_flight: dict[int, Outgoing] = {}
        self._last_id = 0
        self._alone = False

    def __len__(self) -> int:
        return len(self._unsent) + len(self._in_flight)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    def add(self, item: Outgoing) -> None:
        self._unsent.append(item)

    def next_to_send(self) -> Outgoing | None:
        """The next message, with a packet identifier, moved to those in flight."""
        while self._unsent:
            if self._alone or (self._unsent[0].sends >= ALONE_AFTER and self._waits_for_any()):
                return None
            item = self._unsent.popleft()
            item.queued = False
            if item.done.done():
                continue
            item.sends += 1
            self._alone = item.sends > ALONE_AFTER
            item.packet_id = item.packet_id or self._new_id()
            self._in_flight[item.packet_id] = item
            return item
        return None

    def _waits_for_any(self) -> bool:
        return any(not item.done.done() for item in self._in_flight.values())

    def confirm(self, packet_id: int, refused: str | None = None) -> bool:
        """The broker answered for ``packet_id``; False when nobody waits for it any more."""
        item = self._in_flight.pop(packet_id, None)
        self._alone = self._alone and bool(self._in_flight)
        if item is None or item.done.done():
            return False
        if refused is None:
            item.done.set_result(None)
        else:
            item.done.set_exception(PublishFailed(item.topic, refused))
        return True

    def give_up(self, item: Outgoing) -> None:
        """The caller waits no longer.

        A sent message keeps its identifier taken until the connection ends: the broker's late
        answer must not confirm another message.
        """
        if item.sends > ALONE_AFTER:
            self._alone = False
        if item.queued:
            item.queued = False
            self._unsent.remove(item)

    def requeue(self, *, duplicate: bool) -> None:
        """After a reconnect: everything unconfirmed goes out again, first and in order.

        BusUnavailable for what broke the line: it was sent alone, and may have arrived.
        """
        self._alone = False
        for item in self._in_flight.values():
            if item.sends > ALONE_AFTER and not item.done.done():
                item.done.set_exception(
                    BusUnavailable(f"the line broke each time {item.topic} was sent")
                )
        waiting = [item for item in self._in_flight.values() if not item.done.done()]
        self._in_flight.clear()
        for item in waiting:
            item.again = duplicate
            item.queued = True
        self._unsent.extendleft(reversed(waiting))

    def fail_all(self, reason: str) -> None:
        """Nobody will send these any more."""
        for item in (*self._in_flight.values(), *self._unsent):
            item.queued = False
            if not item.done.done():
                item.done.set_exception(BusUnavailable(reason))
        self._alone = False
        self._in_flight.clear()
        self._unsent.clear()

    def _new_id(self) -> int:
        if len(self._in_flight) >= MAX_PACKET_ID:
            raise RuntimeError("every packet identifier is in flight")
        while True:
            self._last_id = self._last_id % MAX_PACKET_ID + 1
            if self._last_id not in self._in_flight:
                return self._last_id
