"""The in-process twin of a broker and its client: what the real pair promises, with no socket."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from core.bus.outbox import Outgoing
from core.bus.port import (
    NO_PROPERTIES,
    BusRefused,
    BusUnavailable,
    Message,
    OnConnect,
    Properties,
    Subscription,
    Will,
    WillSource,
)
from core.bus.reconnect import Backoff, BusOptions, ReconnectingBus
from core.bus.topics import topic_matches


@dataclass(slots=True, eq=False)
class _Delivery:
    """One message on its way to one session; it is also the token its acknowledgement needs."""

    topic: str
    payload: bytes
    retain: bool
    properties: Properties
    expires_at: float | None
    duplicate: bool = False


@dataclass(slots=True, eq=False)
class _Link:
    """One connection of a client."""

    deliver: Callable[[_Delivery], None]
    lost: asyncio.Future[str]
    will: Will | None

    def end(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)


@dataclass(slots=True, eq=False)
class _Session:
    """What the broker keeps of a client between its connections."""

    receive_max: int
    subscriptions: set[Subscription] = field(default_factory=set[Subscription])
    waiting: deque[_Delivery] = field(default_factory=deque[_Delivery])
    unacked: dict[_Delivery, None] = field(default_factory=dict[_Delivery, None])
    link: _Link | None = None


class MemoryBroker:
    """Sessions, retained messages, wills, wildcards and shared groups; no access rules.

    ``accounts`` (user name → secret) makes it refuse others; ``refuse`` gives the reason to refuse
    a publish (client id, topic). Sessions outlive :meth:`stop`, as a persistent broker's do.
    """

    def __init__(
        self,
        *,
        accounts: Mapping[str, str] | None = None,
        refuse: Callable[[str, str], str | None] = lambda _client_id, _topic: None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.running = True
        self.accounts = accounts
        self.refuse = refuse
        self._now = now
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, tuple[bytes, Properties, float | None]] = {}
        self._turns: dict[tuple[str, str], int] = {}

    def stop(self) -> None:
        """Go away: every connection ends, without wills, and nobody can connect."""
        self.running = False
        for session in self._sessions.values():
            if session.link is not None:
                session.link.end("the broker stopped")
                session.link = None

    def start(self) -> None:
        """Come back, with the sessions and retained messages of before."""
        self.running = True

    def kill(self) -> None:
        """Go away and forget everything, as a broker does that had saved nothing."""
        self.stop()
        self._sessions.clear()
        self._retained.clear()
        self._turns.clear()

    def unacknowledged(self, client_id: str) -> int:
        """How many messages a client has and did not acknowledge."""
        session = self._sessions.get(client_id)
        return 0 if session is None else len(session.unacked)

    def cut(self, client_id: str) -> None:
        """Cut one client's line, as a lost network does: its will is published."""
        session = self._sessions[client_id]
        if session.link is not None:
            self.disconnect(client_id, session.link, with_will=True)

    def connect(self, options: BusOptions, link: _Link) -> bool:
        """Attach ``link``; whether there was a session. BusRefused or BusUnavailable."""
        if not self.running:
            raise BusUnavailable("the broker is stopped")
        if self.accounts is not None and (
            options.username is None or self.accounts.get(options.username) != options.password
        ):
            raise BusRefused("NOT_AUTHORIZED")
        session = self._sessions.get(options.client_id)
        present = session is not None
        if session is None:
            session = self._sessions[options.client_id] = _Session(options.receive_max)
        elif session.link is not None:
            self.disconnect(options.client_id, session.link, with_will=True)
        session.receive_max = options.receive_max
        # Anew, so that an acknowledgement from the earlier connection does not fit them.
        again = [replace(delivery, duplicate=True) for delivery in session.unacked]
        session.waiting.extendleft(reversed(again))
        session.unacked.clear()
        session.link = link
        return present

    def subscribe(self, client_id: str, subscriptions: Sequence[Subscription]) -> None:
        """Add subscriptions; new plain ones get the retained messages, then all that waits."""
        session = self._sessions[client_id]
        for subscription in subscriptions:
            if subscription in session.subscriptions:
                continue
            session.subscriptions.add(subscription)
            if subscription.group is None:
                for topic, (payload, properties, expires_at) in self._retained.items():
                    if topic_matches(subscription.filter, topic):
                        session.waiting.append(
                            _Delivery(topic, payload, True, properties, expires_at)
                        )
        self._send(session)

    def disconnect(self, client_id: str, link: _Link, *, with_will: bool) -> None:
        """End a connection; the session stays."""
        session = self._sessions.get(client_id)
        if session is not None and session.link is link:
            session.link = None
        link.end("disconnected")
        if with_will and link.will is not None:
            self.publish(link.will.topic, link.will.payload, link.will.retain, NO_PROPERTIES)

    def acknowledge(self, client_id: str, link: _Link, delivery: _Delivery) -> bool:
        """False when the connection the message came over is gone."""
        session = self._sessions.get(client_id)
        if session is None or session.link is not link or delivery not in session.unacked:
            return False
        del session.unacked[delivery]
        self._send(session)
        return True

    def publish(self, topic: str, payload: bytes, retain: bool, properties: Properties) -> None:
        """Route to every session that has a matching subscription, each group counting once."""
        expiry_s = properties.expiry_s
        expires_at = None if expiry_s is None else self._now() + expiry_s
        if retain and payload:
            self._retained[topic] = (payload, properties, expires_at)
        elif retain:
            self._retained.pop(topic, None)
        groups: dict[tuple[str, str], list[_Session]] = {}
        for session in list(self._sessions.values()):
            matching = [s for s in session.subscriptions if topic_matches(s.filter, topic)]
            for shared in (s for s in matching if s.group is not None):
                groups.setdefault((shared.group or "", shared.filter), []).append(session)
            if any(s.group is None for s in matching):
                self._queue(session, _Delivery(topic, payload, False, properties, expires_at))
        for group, members in groups.items():
            # In turn over all members: one that is offline gets its share too, as on Mosquitto.
            turn = self._turns[group] = self._turns.get(group, -1) + 1
            member = members[turn % len(members)]
            self._queue(member, _Delivery(topic, payload, False, properties, expires_at))

    def _queue(self, session: _Session, delivery: _Delivery) -> None:
        session.waiting.append(delivery)
        self._send(session)

    def _send(self, session: _Session) -> None:
        while session.link is not None and session.waiting:
            if len(session.unacked) >= session.receive_max:
                return
            delivery = session.waiting.popleft()
            if delivery.expires_at is not None and delivery.expires_at <= self._now():
                continue
            session.unacked[delivery] = None
            session.link.deliver(delivery)


class MemoryBus(ReconnectingBus):
    """A :class:`core.bus.port.Bus` on a :class:`MemoryBroker`: every promise of the MQTT 5 one."""

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str,
        *,
        subscriptions: Sequence[Subscription] = (),
        will: WillSource | None = None,
        username: str | None = None,
        password: str | None = None,
        on_connect: OnConnect | None = None,
        receive_max: int = 1000,
        role: str = "service",
    ) -> None:
        super().__init__(
            BusOptions(
                client_id,
                username=username,
                password=password,
                subscriptions=tuple(subscriptions),
                will=will,
                on_connect=on_connect,
                receive_max=receive_max,
                role=role,
                backoff=Backoff(base_s=0.01, cap_s=0.1),
            )
        )
        self._broker = broker
        self._link: _Link | None = None

    @property
    def unacknowledged(self) -> int:
        return 0 if self._link is None else self._broker.unacknowledged(self.options.client_id)

    def ack(self, message: Message) -> None:
        """Acknowledge; nothing happens for a message of an earlier connection or a second time."""
        if not isinstance(message.token, _Delivery):
            return
        if self._link is not None and self._broker.acknowledge(
            self.options.client_id, self._link, message.token
        ):
            self._metrics.acked.inc()
        else:
            self._metrics.stale_acks.inc()

    async def _connect(self) -> asyncio.Future[str]:
        link = _Link(
            self._receive, asyncio.get_running_loop().create_future(), self.options.new_will()
        )
        present = self._broker.connect(self.options, link)
        self._link = link
        if present:
            self._inbox.forget_acknowledgeable()
        self._outbox.requeue(duplicate=present)
        self._broker.subscribe(self.options.client_id, self.options.subscriptions)
        return link.lost

    def _receive(self, delivery: _Delivery) -> None:
        self._inbox.put(
            Message(
                delivery.topic,
                delivery.payload,
                delivery.retain,
                delivery.duplicate,
                delivery.properties,
                delivery,
            )
        )
        self._metrics.received.inc()

    def _pump(self) -> None:
        while self._connected and (item := self._outbox.next_to_send()) is not None:
            # In a later turn of the loop, as from a broker: who publishes must let others run.
            asyncio.get_running_loop().call_soon(self._hand_over, self._link, item)

    def _hand_over(self, link: _Link | None, item: Outgoing) -> None:
        if link is None or link.lost.done():
            return
        refused = self._broker.refuse(self.options.client_id, item.topic)
        if refused is None:
            self._broker.publish(item.topic, item.payload, item.retain, item.properties)
        self._outbox.confirm(item.packet_id, refused)

    def _has_room(self) -> None:
        pass

    def _mark_lost(self) -> None:
        super()._mark_lost()
        self._link = None

    async def _disconnect(self, *, drop: bool) -> None:
        if self._link is not None:
            self._broker.disconnect(self.options.client_id, self._link, with_will=drop)
