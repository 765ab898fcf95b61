"""What every adapter shares: stay connected, resume, confirm publishes, close in order."""

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import core.log
from core.bus.inbox import Inbox
from core.bus.metrics import BusMetrics
from core.bus.outbox import Outbox, Outgoing
from core.bus.port import (
    NO_PROPERTIES,
    BusRefused,
    BusUnavailable,
    Message,
    OnConnect,
    Properties,
    PublishFailed,
    Subscription,
    Will,
    WillSource,
)
from core.bus.tls import TlsFiles, in_words
from core.errors import SettingsError

log = core.log.get(__name__)

CONNECT_TIMEOUT_S = 10.0
CLOSE_TIMEOUT_S = 5.0
# A connection that lived shorter than this did not prove the broker well: keep backing off.
SETTLED_S = 10.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential with full jitter, so a fleet does not come back in step."""

    base_s: float = 0.25
    cap_s: float = 15.0

    def delay_s(self, attempt: int) -> float:
        return random.uniform(0, min(self.cap_s, self.base_s * 2 ** min(attempt, 16)))  # noqa: S311 - jitter, not a secret


# BUS, Transport: what waits for a client that is away, waits a day.
DEFAULT_SESSION_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class BusOptions:
    """How one client connects. ``role`` labels its metrics."""

    client_id: str
    host: str = "127.0.0.1"
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    subscriptions: Sequence[Subscription] = ()
    will: WillSource | None = None
    on_connect: OnConnect | None = None
    receive_max: int = 1000
    keep_alive_s: int = 30
    session_expiry_s: int = DEFAULT_SESSION_S
    tls: TlsFiles | None = None
    role: str = "service"
    backoff: Backoff = field(default_factory=Backoff)

    def new_will(self) -> Will | None:
        """The will of the connection that is about to be made."""
        return self.will() if callable(self.will) else self.will


class ReconnectingBus(ABC):
    """The adapter-independent half of a :class:`core.bus.port.Bus`."""

    def __init__(self, options: BusOptions) -> None:
        self.options = options
        self._inbox = Inbox(self._has_room)
        self._outbox = Outbox()
        self._metrics = BusMetrics(options.role, self)
        self._connected = False
        self._closed = False
        self._connections = 0
        self._trouble = "not connected yet"
        self._runner: asyncio.Task[None] | None = None
        self._greeter: asyncio.Task[None] | None = None
        self._started: asyncio.Future[None] | None = None

    # The adapter's half.

    @abstractmethod
    async def _connect(self) -> asyncio.Future[str]:
        """Connect and subscribe; the future resolves with the reason when the connection ends.

        BusRefused: the broker said no. OSError or BusUnavailable: it does not answer.
        """

    @abstractmethod
    def _pump(self) -> None:
        """Send what the window and the socket allow; called whenever that may have changed."""

    @abstractmethod
    def _has_room(self) -> None:
        """The consumer took a message."""

    @abstractmethod
    async def _disconnect(self, *, drop: bool) -> None:
        """End the present connection, in order or by cutting the line."""

    @abstractmethod
    def ack(self, message: Message) -> None:
        """See :meth:`core.bus.port.Bus.ack`."""

    @property
    @abstractmethod
    def unacknowledged(self) -> int:
        """Messages of the present connection that were received and not acknowledged."""

    # The port.

    @property
    def inbox_depth(self) -> int:
        return len(self._inbox)

    @property
    def in_flight(self) -> int:
        return self._outbox.in_flight

    @property
    def unsent(self) -> int:
        return self._outbox.unsent

    @property
    def connected(self) -> bool:
        return self._connected

    @property
    def trouble(self) -> str | None:
        """See :attr:`core.bus.port.Bus.trouble`."""
        return None if self._connected else self._trouble

    async def start(self) -> None:
        """See :meth:`core.bus.port.Bus.start`."""
        if self._runner is not None:
            raise RuntimeError("a bus is started once")
        self._started = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run(), name=f"bus {self.options.client_id}")
        self._runner.add_done_callback(self._runner_ended)
        try:
            await self._started
        except BaseException:
            self._runner.cancel()
            raise

    def messages(self) -> AsyncIterator[Message]:
        """See :meth:`core.bus.port.Bus.messages`; waiting for the next can be cancelled safely."""
        return self._inbox

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
        timeout_s: float = 10.0,
    ) -> None:
        """See :meth:`core.bus.port.Bus.publish`; BusUnavailable: it may or may not have arrived."""
        if self._closed:
            raise BusUnavailable("the bus is closed")
        loop = asyncio.get_running_loop()
        began, done = loop.time(), loop.create_future()
        item = Outgoing(topic, payload, retain, properties, done)
        self._outbox.add(item)
        self._pump()
        try:
            async with asyncio.timeout(timeout_s):
                await item.done
        except TimeoutError:
            self._metrics.failed("timeout")
            self._outbox.give_up(item)
            self._pump()
            raise BusUnavailable(f"no confirmation of {topic} within {timeout_s:g} s") from None
        except PublishFailed as refused:
            self._metrics.failed(refused.reason)
            raise
        except BusUnavailable:
            self._metrics.failed("closed" if self._closed else "line")
            raise
        finally:
            self._outbox.give_up(item)
        self._metrics.published.inc()
        self._metrics.publish_seconds.observe(loop.time() - began)

    async def close(self, *, drop: bool = False) -> None:
        """See :meth:`core.bus.port.Bus.close`; a second call does nothing.

        In order: publishes under way get up to five seconds to be confirmed, acknowledgements
        already given go out, then DISCONNECT.
        """
        if self._closed:
            return
        self._closed = True
        for task in (self._greeter, None if self._connected else self._runner):
            if task is not None:
                task.cancel()
        if self._connected and not drop:
            await self._drain()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.wait([self._runner])
        await self._disconnect(drop=drop)
        self._mark_lost()
        self._outbox.fail_all("the bus was closed")
        self._inbox.close()

    # The rest.

    async def _drain(self) -> None:
        deadline = asyncio.get_running_loop().time() + CLOSE_TIMEOUT_S
        while len(self._outbox) and self._connected:
            if asyncio.get_running_loop().time() > deadline:
                log.warning("publishes_lost_on_close", client_id=self.options.client_id)
                return
            await asyncio.sleep(0.01)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            since = loop.time()
            reason = await self._one_connection()
            if reason is None:
                return
            attempt = 0 if loop.time() - since > SETTLED_S else attempt + 1
            delay_s = self.options.backoff.delay_s(attempt)
            # A broker that stays away is news once.
            say = log.info if reason == self._trouble else log.warning
            self._trouble = reason
            say(
                "bus_reconnecting",
                client_id=self.options.client_id,
                broker=f"{self.options.host}:{self.options.port}",
                reason=reason,
                delay_s=round(delay_s, 3),
            )
            await asyncio.sleep(delay_s)

    async def _one_connection(self) -> str | None:
        """Connect and stay; the reason it ended, or None when there is nothing to retry."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                lost = await self._connect()
        except BusRefused as refused:
            if self._started is not None and not self._started.done():
                self._started.set_exception(refused)
                return None
            return str(refused)
        except (OSError, TimeoutError, BusUnavailable, SettingsError) as error:
            # SettingsError: a certificate that is being replaced; it was good when we started.
            return in_words(error)
        self._stands()
        # Shielded: the adapter still waits for it when close() cancels this task.
        reason = await asyncio.shield(lost)
        self._mark_lost()
        return reason

    def _stands(self) -> None:
        self._connected = True
        self._trouble = "the connection was lost"
        self._metrics.connected.inc()
        if self._connections:
            self._metrics.reconnects.inc()
        self._connections += 1
        if self._started is not None and not self._started.done():
            self._started.set_result(None)
        if self.options.on_connect is not None:
            # A greeting that did not end before the connection did is void.
            if self._greeter is not None:
                self._greeter.cancel()
            self._greeter = asyncio.create_task(self._greet(self.options.on_connect))
        self._pump()

    async def _greet(self, on_connect: OnConnect) -> None:
        try:
            await on_connect()
        except Exception:
            log.exception("on_connect_failed", client_id=self.options.client_id)

    def _window_full(self, unacked: int) -> bool:
        """Whether to read no further; the rest waits in the socket and then in the broker.

        Not before the connection stands: the SUBACK is behind what the session kept. And not while
        a publish waits: its confirmation is behind the messages, and the consumer may be waiting
        for it before it acknowledges anything.
        """
        limit = self.options.receive_max
        if not self._connected:
            return False
        return (unacked >= limit or len(self._inbox) >= limit) and not len(self._outbox)

    def _mark_lost(self) -> None:
        if self._connected:
            self._connected = False
            self._metrics.connected.dec()

    def _runner_ended(self, runner: asyncio.Task[None]) -> None:
        # A defect of ours must reach the consumer, not leave a client that silently does nothing.
        error = None if runner.cancelled() else runner.exception()
        if error is None:
            return
        self._mark_lost()
        if self._started is not None and not self._started.done():
            self._started.set_exception(error)
        self._outbox.fail_all(f"the bus failed: {error!r}")
        self._inbox.close(error)
