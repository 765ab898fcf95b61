"""MQTT 5 adapter: an asyncio protocol over the sans-I/O ``mqtt5`` codec, which only it knows."""

import asyncio
from collections.abc import Callable
from typing import cast

import mqtt5
from mqtt5 import (
    ConnAckPacket,
    ConnAckReasonCode,
    DisconnectPacket,
    PubAckPacket,
    PublishPacket,
    QoS,
    SubAckPacket,
)

import core.log
from core.bus.packets import connect_packet, properties_of, publish_packet
from core.bus.port import BusRefused, BusUnavailable, Message
from core.bus.reconnect import CLOSE_TIMEOUT_S, BusOptions, ReconnectingBus
from core.bus.tls import in_words
from core.bus.topics import wire_filter

log = core.log.get(__name__)

REFUSED = 0x80
PUBACK = 0x40
# Reasons of other packets that brokers send in a PUBACK all the same; the codec raises on them.
UNLISTED_REASONS = {0x90: "TOPIC_NAME_INVALID", 0x95: "PACKET_TOO_LARGE"}
# The broker exists but cannot take anybody now: the same as no answer.
TRANSIENT = frozenset(
    int(code)
    for code in (
        ConnAckReasonCode.SERVER_UNAVAILABLE,
        ConnAckReasonCode.SERVER_BUSY,
        ConnAckReasonCode.CONNECTION_RATE_EXCEEDED,
        ConnAckReasonCode.QUOTA_EXCEEDED,
    )
)


class _Token:
    """Stands for one delivery of one message: never equal to another, even with the same id."""

    __slots__ = ("packet_id",)

    def __init__(self, packet_id: int) -> None:
        self.packet_id = packet_id


class _Link(asyncio.Protocol):
    """One TCP connection: bytes to packets and back, keep alive, flow control of the socket."""

    def __init__(self, on_packet: Callable[["_Link", mqtt5.Packet], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._on_packet = on_packet
        self._data = b""
        self._position = 0
        self._out: list[bytes] = []
        self._reading = True
        self._ping_s = 0.0
        self._unanswered_pings = 0
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self.transport: asyncio.Transport | None = None
        self.writable = True
        self.on_writable: Callable[[], None] = lambda: None
        self.on_refused: Callable[[int, str], None] = lambda _id, _reason: None
        self.unacked: dict[int, _Token] = {}
        self.send_quota = 65_535
        self.max_packet: int | None = None
        self.connack: asyncio.Future[ConnAckPacket] = self._loop.create_future()
        self.suback: asyncio.Future[SubAckPacket] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._unanswered_pings = 0
        self._data = self._data[self._position :] + data
        self._position = 0
        self._parse()

    def _parse(self) -> None:
        """Hand over the packets received, until the window is full; the rest waits here."""
        if self.lost.done():
            return
        data = self._data
        view, end = memoryview(data), len(data)
        try:
            while self._position < end and self._reading:
                try:
                    packet, size = mqtt5.read(view[self._position :])
                except ValueError:
                    size = self._read_unlisted_puback(data[self._position : self._position + 8])
                else:
                    self._on_packet(self, packet)
                self._position += size
        except IndexError:
            pass  # The rest of the packet is still under way.
        except ValueError as error:
            self.abort(f"unreadable packet: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        reason = self._reason or ("closed by the broker" if exc is None else in_words(exc))
        for waiter in (self.connack, self.suback):
            if not waiter.done():
                waiter.set_exception(BusUnavailable(reason))
                waiter.exception()  # Nobody may be waiting for it; that is no mistake.
        if not self.lost.done():
            self.lost.set_result(reason)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self.on_writable()

    # For the bus

    def write(self, data: bytes) -> None:
        """Queue ``data``; what one turn of the loop writes goes out in one system call."""
        if not self._out:
            self._loop.call_soon(self.flush)
        self._out.append(data)

    def flush(self) -> None:
        if self._out and self.transport is not None and not self.transport.is_closing():
            self.transport.write(b"".join(self._out))
        self._out.clear()

    def abort(self, reason: str) -> None:
        self._reason = self._reason or reason
        if self.transport is not None:
            self.transport.abort()

    def note(self, reason: str) -> None:
        """Why the connection is about to end, when the broker says so."""
        self._reason = reason

    def set_reading(self, wanted: bool) -> None:
        if self.transport is None or self.transport.is_closing() or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._unanswered_pings = 0
            self.transport.resume_reading()
            if self._position < len(self._data):
                self._loop.call_soon(self._parse)
        else:
            self.transport.pause_reading()

    def keep_alive(self, interval_s: float) -> None:
        """Ping at half the interval; a broker silent for a whole one is gone."""
        self._ping_s = interval_s / 2
        self._timer = self._loop.call_later(self._ping_s, self._ping)

    def _ping(self) -> None:
        if self._unanswered_pings >= 2 and self._reading:
            self.abort("the broker does not answer pings")
            return
        self._unanswered_pings += 1
        self.write(mqtt5.PingReqPacket().write())
        self._timer = self._loop.call_later(self._ping_s, self._ping)

    def _read_unlisted_puback(self, head: bytes) -> int:
        """Size of a PUBACK whose reason the codec does not know; ValueError for anything else."""
        if head[0] != PUBACK or head[1] >= REFUSED:
            raise ValueError(f"packet type {head[0]:#x}")
        reason = head[4]
        self.on_refused(
            int.from_bytes(head[2:4]), UNLISTED_REASONS.get(reason, f"reason {reason:#04x}")
        )
        return 2 + head[1]


class Mqtt5Bus(ReconnectingBus):
    """The fast adapter: for ingest, the engine and the simulated fleet. See :class:`Bus`.

    Promises: QoS 1 both ways, at most ``receive_max`` unacknowledged messages in this process,
    a session of 24 h, messages sent again in order (with DUP) after a reconnect.
    """

    def __init__(self, options: BusOptions) -> None:
        super().__init__(options)
        self._link: _Link | None = None

    @property
    def unacknowledged(self) -> int:
        return 0 if self._link is None else len(self._link.unacked)

    def ack(self, message: Message) -> None:
        """Acknowledge; nothing happens for a message of an earlier connection or a second time."""
        token, link = message.token, self._link
        if not isinstance(token, _Token):
            return
        if link is None or link.unacked.get(token.packet_id) is not token:
            self._metrics.stale_acks.inc()
            return
        del link.unacked[token.packet_id]
        link.write(PubAckPacket(token.packet_id).write())
        self._metrics.acked.inc()
        self._mind_window(link)

    async def _connect(self) -> asyncio.Future[str]:
        options = self.options
        loop = asyncio.get_running_loop()
        link = _Link(self._on_packet)
        link.on_writable = self._pump
        link.on_refused = self._on_confirmed
        try:
            tls = None if options.tls is None else options.tls.context()
            await loop.create_connection(lambda: link, options.host, options.port, ssl=tls)
            link.write(connect_packet(options).write())
            connack = await link.connack
            if int(connack.reason_code) in TRANSIENT:
                raise BusUnavailable(f"the broker says {connack.reason_code.name}")
            if int(connack.reason_code) >= REFUSED:
                raise BusRefused(connack.reason_code.name)
            link.keep_alive(connack.server_keep_alive or options.keep_alive_s)
            await self._subscribe(link)
        except BaseException:
            link.abort("not set up")
            raise
        return link.lost

    async def _subscribe(self, link: _Link) -> None:
        if not self.options.subscriptions:
            return
        filters = [
            mqtt5.TopicFilter(
                wire_filter(subscription),
                max_qos=QoS.AT_LEAST_ONCE,
                # As in 3.1.1: the flag tells a stored message from a live one.
                retain_as_published=False,
                # Every connection subscribes; only a new session needs the stored messages.
                retain_handling=mqtt5.RetainHandling.SEND_IF_SUBSCRIPTION_NOT_EXISTS,
            )
            for subscription in self.options.subscriptions
        ]
        # Nothing is sent by the outbox before the connection stands, so the id is free.
        link.write(mqtt5.SubscribePacket(1, filters).write())
        suback = await link.suback
        for topic_filter, code in zip(filters, suback.reason_codes, strict=True):
            if int(code) >= REFUSED:
                raise BusRefused(f"subscription {topic_filter.pattern}: {code.name}")

    def _on_packet(self, link: _Link, packet: mqtt5.Packet) -> None:
        if isinstance(packet, PublishPacket):
            self._on_publish(link, packet)
        elif isinstance(packet, PubAckPacket):
            code = packet.reason_code
            self._on_confirmed(packet.packet_id, code.name if int(code) >= REFUSED else None)
        elif isinstance(packet, ConnAckPacket):
            self._on_connack(link, packet)
        elif isinstance(packet, SubAckPacket):
            if not link.suback.done():
                link.suback.set_result(packet)
        elif isinstance(packet, DisconnectPacket):
            link.note(packet.reason_code.name)

    def _on_connack(self, link: _Link, connack: ConnAckPacket) -> None:
        # Here and not after the await: the session's messages may be in the same read.
        if int(connack.reason_code) < REFUSED:
            self._link = link
            link.send_quota = connack.receive_max
            link.max_packet = connack.max_packet_size
            if connack.session_present:
                self._inbox.forget_acknowledgeable()
            self._outbox.requeue(duplicate=connack.session_present)
        if not link.connack.done():
            link.connack.set_result(connack)

    def _on_publish(self, link: _Link, packet: PublishPacket) -> None:
        token: _Token | None = None
        if packet.packet_id is not None:
            token = _Token(packet.packet_id)
            link.unacked[packet.packet_id] = token
        self._inbox.put(
            Message(
                packet.topic,
                packet.payload,
                packet.retain,
                packet.duplicate,
                properties_of(packet),
                token,
            )
        )
        self._metrics.received.inc()
        self._mind_window(link)

    def _on_confirmed(self, packet_id: int, refused: str | None) -> None:
        self._outbox.confirm(packet_id, refused)
        self._pump()

    def _mind_window(self, link: _Link) -> None:
        # The receive maximum should do it, but Mosquitto 2.0.11 sends a whole window for each ack.
        link.set_reading(not self._window_full(len(link.unacked)))

    def _has_room(self) -> None:
        if self._link is not None:
            self._mind_window(self._link)

    def _pump(self) -> None:
        link = self._link
        if link is None or not self._connected:
            return
        while link.writable and self._outbox.in_flight < link.send_quota:
            item = self._outbox.next_to_send()
            if item is None:
                break
            try:
                data = publish_packet(item).write()
            except ValueError as error:
                self._outbox.confirm(item.packet_id, str(error))
                continue
            if link.max_packet is not None and len(data) > link.max_packet:
                self._outbox.confirm(item.packet_id, "PACKET_TOO_LARGE")
                continue
            link.write(data)
        self._mind_window(link)

    def _mark_lost(self) -> None:
        super()._mark_lost()
        self._link = None

    async def _disconnect(self, *, drop: bool) -> None:
        link = self._link
        if link is None or link.transport is None:
            return
        if drop:
            link.abort("dropped")
        else:
            link.write(DisconnectPacket().write())
            link.flush()
            link.transport.close()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await link.lost
        except TimeoutError:
            link.abort("the broker did not take the last bytes")
