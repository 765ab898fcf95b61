"""MQTT 3.1.1 adapter over paho-mqtt, driven by the running loop: no thread, many in one process."""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paho.mqtt.client import MQTT_LOG_ERR, Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.reasoncodes import ReasonCode

from core.bus.port import BusRefused, BusUnavailable, Message
from core.bus.reconnect import CLOSE_TIMEOUT_S, BusOptions, ReconnectingBus
from core.bus.tls import in_words

if TYPE_CHECKING:
    from paho.mqtt.client import SocketLike

MISC_INTERVAL_S = 1.0
# 3.1.1 tells no receive maximum: what a broker takes in flight by default everywhere.
SEND_QUOTA = 20
REFUSED = 0x80
# CONNACK 3, server unavailable, as paho translates it.
SERVER_UNAVAILABLE = 0x88


class _Token:
    """Stands for one delivery of one message: never equal to another, even with the same id."""

    __slots__ = ("packet_id",)

    def __init__(self, packet_id: int) -> None:
        self.packet_id = packet_id


class _Link:
    """One connection: a paho client of its own, fed by the loop.

    A client for each connection, because paho keeps messages over a reconnect and the outbox
    already does.
    """

    def __init__(self, options: BusOptions) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._reason = ""
        self._error = ""
        self._sock: SocketLike | None = None
        self._reading = False
        self._suspended = False
        self._ended = False
        self.session_present = False
        # paho numbers messages itself: its number → ours.
        self.numbers: dict[int, int] = {}
        self.on_session: Callable[[bool], None] = lambda _present: None
        self.unacked: dict[int, _Token] = {}
        self.connack: asyncio.Future[ReasonCode] = self._loop.create_future()
        self.suback: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self.lost: asyncio.Future[str] = self._loop.create_future()
        self.client = _paho_client(options)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = self._on_subscribe
        self.client.on_disconnect = self._on_disconnect
        self.client.on_socket_open = self._on_socket_open
        self.client.on_socket_close = self._on_socket_close
        self.client.on_socket_register_write = self._on_register_write
        self.client.on_socket_unregister_write = self._on_unregister_write
        self.client.on_log = self._on_log

    async def open(self, host: str, port: int, keep_alive_s: int) -> None:
        """Connect; paho's connect blocks, so it runs in the loop's shared thread pool."""
        self.client.connect_async(host, port, keep_alive_s)
        await self._loop.run_in_executor(None, self._open_blocking)
        self._watch()
        self._tick()

    def _open_blocking(self) -> None:
        self.client.reconnect()
        if self._ended:  # The bus gave up while this thread was still connecting.
            self._close_socket()

    def suspend(self, wanted: bool) -> None:
        """Stop or resume reading: the only receive window 3.1.1 leaves to a client."""
        self._suspended = wanted
        self._watch()

    def end(self, reason: str) -> None:
        """Cut the line."""
        self._reason = self._reason or reason
        self._ended = True
        self._close_socket()
        self._finish()

    def _close_socket(self) -> None:
        # paho has no public way to close without DISCONNECT; its destructor does this.
        self.client._reset_sockets()  # pyright: ignore[reportPrivateUsage]

    def _watch(self) -> None:
        """Bring the loop's reader in line with the socket; safe to call at any time."""
        wanted = self._sock is not None and not self._suspended
        if self._sock is None or wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._sock.fileno(), self._read)
            if self._has_decrypted():
                self._loop.call_soon(self._read)
        else:
            self._loop.remove_reader(self._sock.fileno())

    def _read(self) -> None:
        if self._sock is None or self._suspended:
            return
        self.client.loop_read()
        # TLS may hold decrypted bytes that make no socket readable.
        while not self._suspended and self._has_decrypted():
            self.client.loop_read()

    def _has_decrypted(self) -> bool:
        return isinstance(self._sock, ssl.SSLSocket) and self._sock.pending() > 0

    def _tick(self) -> None:
        if self.lost.done():
            return
        self.client.loop_misc()
        self._timer = self._loop.call_later(MISC_INTERVAL_S, self._tick)

    def _finish(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        reason = self._reason or "connection lost"
        for waiter in (self.connack, self.suback):
            if not waiter.done():
                waiter.set_exception(BusUnavailable(reason))
                waiter.exception()  # Nobody may be waiting for it; that is no mistake.
        if not self.lost.done():
            self.lost.set_result(reason)

    # paho's callbacks. Opening runs in a pool thread, so it only notes the socket.

    def _on_socket_open(self, _client: Client, _data: Any, sock: "SocketLike") -> None:
        self._sock = sock

    def _on_register_write(self, _client: Client, _data: Any, sock: "SocketLike") -> None:
        self._loop.call_soon_threadsafe(self._start_writing, sock)

    def _start_writing(self, sock: "SocketLike") -> None:
        if sock is self._sock and self.client.want_write():
            self._loop.add_writer(sock.fileno(), self._write)

    def _write(self) -> None:
        self.client.loop_write()

    def _on_unregister_write(self, _client: Client, _data: Any, sock: "SocketLike") -> None:
        self._loop.remove_writer(sock.fileno())

    def _on_socket_close(self, _client: Client, _data: Any, sock: "SocketLike") -> None:
        self._loop.remove_reader(sock.fileno())
        self._loop.remove_writer(sock.fileno())
        self._sock = None
        self._reading = False

    def _on_connect(
        self,
        _client: Client,
        _data: Any,
        flags: ConnectFlags,
        reason: ReasonCode,
        _properties: PahoProperties | None,
    ) -> None:
        # Here and not after an await: the session's messages may be in the same read.
        if reason.value < REFUSED:
            self.session_present = flags.session_present
            self.on_session(flags.session_present)
        if not self.connack.done():
            self.connack.set_result(reason)

    def _on_subscribe(
        self,
        _client: Client,
        _data: Any,
        _mid: int,
        reasons: list[ReasonCode],
        _properties: PahoProperties | None,
    ) -> None:
        if not self.suback.done():
            self.suback.set_result(reasons)

    def _on_disconnect(
        self,
        _client: Client,
        _data: Any,
        _flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: PahoProperties | None,
    ) -> None:
        self._reason = self._reason or self._error or str(reason)
        self._finish()

    def _on_log(self, _client: Client, _data: Any, level: int, text: str) -> None:
        # Nothing else tells why a socket failed, such as the broker's word on our certificate.
        if level == MQTT_LOG_ERR:
            self._error = in_words(self._last_word() or OSError(text.rpartition(": ")[2] or text))

    def _last_word(self) -> ssl.SSLError | None:
        """The broker's TLS alert, where a write that failed left it unread."""
        if isinstance(self._sock, ssl.SSLSocket):
            try:
                self._sock.recv(1)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
            except ssl.SSLError as error:
                return error
            except OSError:
                pass
        return None


class Mqtt311Bus(ReconnectingBus):
    """For 3.1.1 brokers such as amqtt. See :class:`core.bus.port.Bus`.

    Promises what the broker keeps: a persistent session, redelivery of what was not acknowledged,
    confirmed publishes. There are no properties and no reasons, and a ``group`` is ignored (amqtt
    grants shared subscriptions and never delivers them), so run one replica.
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
        link.client.ack(token.packet_id, 1)
        self._metrics.acked.inc()
        self._mind_window(link)

    async def _connect(self) -> asyncio.Future[str]:
        options = self.options
        link = _Link(options)
        link.client.on_message = self._receiver(link)
        link.client.on_publish = self._confirmer(link)
        link.on_session = lambda present: self._resume(link, session_present=present)
        try:
            await link.open(options.host, options.port, options.keep_alive_s)
            reason = await link.connack
            if reason.value == SERVER_UNAVAILABLE:
                raise BusUnavailable("the broker says it is unavailable")
            if reason.value >= REFUSED:
                raise BusRefused(_reason_name(reason))
            await self._subscribe(link)
        except BaseException:
            link.end("not set up")
            raise
        return link.lost

    async def _subscribe(self, link: _Link) -> None:
        # No $share: amqtt grants it and never delivers.
        filters = [(subscription.filter, 1) for subscription in self.options.subscriptions]
        if not filters:
            return
        link.client.subscribe(filters)
        if link.session_present:
            # The session has them, and amqtt answers only when what waited is acknowledged: the
            # consumer, who starts after this, would never get to it.
            return
        for (topic_filter, _), reason in zip(filters, await link.suback, strict=True):
            if reason.value >= REFUSED:
                raise BusRefused(f"subscription {topic_filter}: {_reason_name(reason)}")

    def _resume(self, link: _Link, *, session_present: bool) -> None:
        self._link = link
        if session_present:
            self._inbox.forget_acknowledgeable()
        self._outbox.requeue(duplicate=session_present)

    def _receiver(self, link: _Link) -> Callable[[Client, Any, MQTTMessage], None]:
        def receive(_client: Client, _data: Any, received: MQTTMessage) -> None:
            token: _Token | None = None
            if received.qos:
                token = link.unacked[received.mid] = _Token(received.mid)
            self._inbox.put(
                Message(
                    received.topic,
                    bytes(received.payload),
                    received.retain,
                    received.dup,
                    token=token,
                )
            )
            self._metrics.received.inc()
            self._mind_window(link)

        return receive

    def _confirmer(
        self, link: _Link
    ) -> Callable[[Client, Any, int, ReasonCode, PahoProperties], None]:
        def confirm(
            _client: Client, _data: Any, mid: int, _reason: ReasonCode, _more: PahoProperties
        ) -> None:
            number = link.numbers.pop(mid, None)
            if number is not None:
                self._outbox.confirm(number)
                self._pump()

        return confirm

    def _mind_window(self, link: _Link) -> None:
        link.suspend(self._window_full(len(link.unacked)))

    def _has_room(self) -> None:
        if self._link is not None:
            self._mind_window(self._link)

    def _pump(self) -> None:
        link = self._link
        if link is None or not self._connected:
            return
        while self._outbox.in_flight < SEND_QUOTA:
            item = self._outbox.next_to_send()
            if item is None:
                break
            try:
                info = link.client.publish(item.topic, item.payload, 1, item.retain)
            except ValueError as error:
                self._outbox.confirm(item.packet_id, str(error))
                continue
            # Never answered before this line: paho reads only when the loop calls it.
            link.numbers[info.mid] = item.packet_id
        self._mind_window(link)

    def _mark_lost(self) -> None:
        super()._mark_lost()
        self._link = None

    async def _disconnect(self, *, drop: bool) -> None:
        link = self._link
        if link is None:
            return
        if drop:
            link.end("dropped")
            return
        link.client.disconnect()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await link.lost
        except TimeoutError:
            link.end("the broker did not take the last bytes")


def _paho_client(options: BusOptions) -> Client:
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=options.client_id,
        clean_session=False,
        protocol=MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    # The outbox keeps the window.
    client.max_inflight_messages_set(0)
    if options.username is not None:
        client.username_pw_set(options.username, options.password)
    if options.tls is not None:
        client.tls_set_context(options.tls.context())  # pyright: ignore[reportUnknownMemberType] - untyped there
    will = options.new_will()
    if will is not None:
        client.will_set(will.topic, will.payload, 1, will.retain)
    return client


def _reason_name(reason: ReasonCode) -> str:
    """As MQTT 5 writes it: ``BAD_USER_NAME_OR_PASSWORD``."""
    return str(reason).upper().replace(" ", "_")
