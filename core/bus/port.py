"""The port every MQTT client in the platform goes through: explicit acknowledgement, both ways."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from core.errors import DomainError, Unavailable


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes for a client that went without a word (QoS 1)."""

    topic: str
    payload: bytes
    retain: bool = True


# A will that differs from connection to connection (a vehicle's names its session, BUS) is made
# anew for each.
WillSource = Will | Callable[[], Will]


@dataclass(frozen=True, slots=True)
class Properties:
    """The MQTT 5 properties BUS.md names; a 3.1.1 adapter drops them."""

    content_type: str | None = None
    response_topic: str | None = None
    correlation: bytes | None = None
    expiry_s: int | None = None


NO_PROPERTIES = Properties()


@dataclass(frozen=True, slots=True)
class Message:
    """One received message. ``token`` ties it to the connection it came over, for its ack."""

    topic: str
    payload: bytes
    retain: bool = False
    duplicate: bool = False
    properties: Properties = field(default=NO_PROPERTIES)
    token: object = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A topic filter at QoS 1; ``group`` makes it a shared one where the broker has them."""

    filter: str
    group: str | None = None


class PublishFailed(DomainError):
    """The broker refused a message (``reason``: its MQTT reason), so repeating it will not help."""

    def __init__(self, topic: str, reason: str) -> None:
        super().__init__("PUBLISH_REFUSED", f"the broker refused {topic}: {reason}")
        self.reason = reason


class BusUnavailable(Unavailable):
    """The broker does not answer, or the connection went before it confirmed."""

    def __init__(self, message: str) -> None:
        super().__init__("BUS_UNAVAILABLE", message)


class BusRefused(DomainError):
    """The broker refused the connection itself: wrong credentials, banned client, bad id."""

    def __init__(self, reason: str) -> None:
        super().__init__("BUS_REFUSED", f"the broker refused the connection: {reason}")
        self.reason = reason


OnConnect = Callable[[], Awaitable[None]]


class Bus(Protocol):
    """A connection to a broker that outlives the connection: reconnects, resubscribes, resumes.

    Everything is QoS 1. A message counts as delivered only once it is acknowledged with
    :meth:`ack`; an acknowledgement for a connection that is gone is dropped (the broker sends the
    message again).
    """

    @property
    def connected(self) -> bool: ...

    @property
    def trouble(self) -> str | None:
        """Why there is no connection, for people; None while there is one."""
        ...

    async def start(self) -> None:
        """Connect and subscribe; returns once the first connection stands.

        Keeps trying (with jitter) while the broker is not reachable; BusRefused where the broker
        answered no at the first try.
        """
        ...

    def messages(self) -> AsyncIterator[Message]:
        """Received messages in order of arrival, until :meth:`close`."""
        ...

    def ack(self, message: Message) -> None:
        """Tell the broker the message's effect is committed; a stale one is dropped."""
        ...

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        properties: Properties = NO_PROPERTIES,
        timeout_s: float = 10.0,
    ) -> None:
        """Returns once the broker confirmed; PublishFailed or BusUnavailable otherwise."""
        ...

    async def close(self, *, drop: bool = False) -> None:
        """Disconnect in order (no will); ``drop=True`` cuts the line, so the will is published."""
        ...
