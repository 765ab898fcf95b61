"""The pairs of client and broker the behaviour suite runs on, and what each does not promise."""

import asyncio
import itertools
import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from core.bus import Bus, Message, Subscription, open_bus
from core.bus.memory import MemoryBroker, MemoryBus
from tests.broker_fixtures import PREFIX, RunningBroker

DEADLINE_S = 20.0
# Long enough for a broker on this machine to do what it must not.
QUIET_S = 0.3

# Behaviour → why a stack does not have it. Everything not listed is tested.
NOT_PROMISED: dict[str, dict[str, str]] = {
    "mqtt5-mosquitto": {},
    "mqtt311-mosquitto": {
        "properties": "3.1.1 has none",
        "reasons": "a PUBACK of 3.1.1 has no reason: a denied publish looks confirmed",
        "groups": "the 3.1.1 adapter ignores groups",
    },
    "mqtt311-amqtt": {
        "properties": "3.1.1 has none",
        "reasons": "a PUBACK of 3.1.1 has no reason: a denied publish looks confirmed",
        "groups": "amqtt grants shared subscriptions and never delivers them",
        "kept": "amqtt confirms on receipt and drops what a client sent just before it left",
        "redelivery": "amqtt discards what was not acknowledged",
        "restart": "amqtt keeps everything in memory",
    },
    "memory": {
        "line": "there is no line that could lose a part",
        "liveness": "there is no line that could go silent",
    },
}


def promised(behaviour: str) -> pytest.MarkDecorator:
    """Parametrise a test over the stacks that promise ``behaviour``."""
    names = [name for name, missing in NOT_PROMISED.items() if behaviour not in missing]
    return pytest.mark.parametrize("stack", names, indirect=True)


class Proxy:
    """A TCP line to the broker that a test can cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._stalled: set[asyncio.StreamWriter] = set()
        self.muted = False
        # The line breaks whenever the client says this.
        self.poison: bytes | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.open = True

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def stall(self) -> None:
        """The present connections stay and carry nothing any more."""
        self._stalled |= self._writers

    def cut(self) -> None:
        """Every connection ends without a word."""
        self.muted = False
        for writer in self._writers:
            writer.transport.abort()

    async def stop(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.open:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, to_writer}
        self._writers |= ends
        pumps = [
            asyncio.create_task(self._copy(reader, to_writer)),
            asyncio.create_task(self._copy(to_reader, writer, from_broker=True)),
        ]
        await asyncio.wait(pumps)
        self._writers -= ends

    async def _copy(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        from_broker: bool = False,
    ) -> None:
        try:
            while data := await reader.read(65536):
                if self.poison is not None and self.poison in data:
                    self.cut()
                if writer not in self._stalled and not (from_broker and self.muted):
                    writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


class Stack:
    """Makes buses on one broker; closes what a test left open."""

    def __init__(self, name: str, broker: RunningBroker | None) -> None:
        self.name = name
        self.broker = broker
        self.memory = MemoryBroker(accounts={}, refuse=self._refuse)
        self.accounts: dict[str, str] = {}
        self.proxies: dict[str, Proxy] = {}
        self._exits = AsyncExitStack()

    def vehicle(self) -> str:
        """A fresh VIN with an account."""
        vin = "T" + "".join(secrets.choice("ABCDEFGHJKLMNPRSTUVWXYZ0123456789") for _ in range(16))
        if self.broker is not None:
            self.broker.add_user(vin)
        return vin

    def topic(self, vin: str, leaf: str) -> str:
        return f"{PREFIX}/{vin}/{leaf}"

    async def open(
        self, user: str, client_id: str, *filters: str, group: str | None = None, **options: Any
    ) -> Bus:
        """A started bus of ``user``, its line cuttable with :meth:`cut`."""
        bus = await self.build(user, client_id, *filters, group=group, **options)
        async with asyncio.timeout(DEADLINE_S):
            await bus.start()
        return bus

    async def build(
        self,
        user: str,
        client_id: str,
        *filters: str,
        group: str | None = None,
        password: str | None = None,
        keep_alive_s: int = 30,
        **options: Any,
    ) -> Bus:
        subscriptions = [Subscription(topic_filter, group) for topic_filter in filters]
        bus: Bus
        if self.broker is None:
            self.memory.accounts = {**(self.memory.accounts or {}), user: "right"}
            secret = password or "right"
            bus = MemoryBus(
                self.memory,
                client_id,
                subscriptions=subscriptions,
                username=user,
                password=secret,
                **options,
            )
        else:
            proxy = self.proxies.get(client_id)
            if proxy is None:
                proxy = self.proxies[client_id] = Proxy(self.broker.port)
                await proxy.start()
                self._exits.push_async_callback(proxy.stop)
            protocol = "5" if self.name.startswith("mqtt5") else "3.1.1"
            settings = self.broker.settings(user, protocol=protocol).model_copy(
                update={"port": proxy.port, "keep_alive_s": keep_alive_s}
            )
            bus = open_bus(
                settings,
                client_id=client_id,
                subscriptions=subscriptions,
                username=user,
                password=password or self.broker.secrets[user],
                role="test",
                **options,
            )
        self._exits.push_async_callback(bus.close)
        return bus

    def cut(self, client_id: str) -> None:
        """The line of one client breaks."""
        if self.broker is None:
            self.memory.cut(client_id)
        else:
            self.proxies[client_id].cut()

    def isolate(self, client_id: str) -> None:
        """The line of one client breaks and stays broken."""
        if self.broker is None:
            self.memory.stop()
        else:
            self.proxies[client_id].open = False
            self.proxies[client_id].cut()

    async def stop_broker(self) -> None:
        if self.broker is None:
            self.memory.stop()
        else:
            await asyncio.to_thread(self.broker.stop)

    async def kill_broker(self) -> None:
        """As a crash: what it had not saved is gone."""
        if self.broker is None:
            self.memory.kill()
        else:
            await asyncio.to_thread(self.broker.kill)

    def mute(self, client_id: str) -> None:
        """What the broker says to one client is lost, until its line is cut."""
        self.proxies[client_id].muted = True

    async def start_broker(self) -> None:
        if self.broker is None:
            self.memory.start()
        else:
            await asyncio.to_thread(self.broker.start)

    async def close(self) -> None:
        await self._exits.aclose()

    def _refuse(self, client_id: str, topic: str) -> str | None:
        """The twin has no rules; here it refuses what Mosquitto's refuse to a vehicle."""
        return "NOT_AUTHORIZED" if topic.endswith("/cmd") and client_id.startswith("T") else None


@asynccontextmanager
async def running_stack(name: str, request: pytest.FixtureRequest) -> AsyncGenerator[Stack]:
    """The stack ``name``; starts its broker only when a test needs it."""
    fixture = {"mosquitto": "mosquitto_broker", "amqtt": "amqtt_broker"}.get(
        name.rsplit("-", maxsplit=1)[-1]
    )
    stack = Stack(name, request.getfixturevalue(fixture) if fixture else None)
    try:
        yield stack
    finally:
        await stack.close()


_numbers = itertools.count()


def client(name: str) -> str:
    """A client id no other test uses, so no session of another is found."""
    return f"{name}-{secrets.token_hex(4)}-{next(_numbers)}"


async def take(bus: Bus, count: int = 1) -> list[Message]:
    """The next ``count`` messages, not acknowledged."""
    iterator = bus.messages()
    async with asyncio.timeout(DEADLINE_S):
        return [await anext(iterator) for _ in range(count)]


async def take_and_ack(bus: Bus, count: int = 1) -> list[bytes]:
    """The payloads of the next ``count`` messages, acknowledged one by one."""
    iterator, payloads = bus.messages(), list[bytes]()
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(count):
            message = await anext(iterator)
            payloads.append(message.payload)
            bus.ack(message)
    return payloads


async def nothing_arrives(bus: Bus) -> bool:
    """Whether the bus stays silent for a while; its next message is not lost by asking."""
    try:
        async with asyncio.timeout(QUIET_S):
            await anext(bus.messages())
    except TimeoutError:
        return True
    return False


async def until(condition: Callable[[], bool], what: str) -> None:
    """Return once ``condition`` holds; an AssertionError that says ``what`` after 20 s."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"timed out: {what}"
        await asyncio.sleep(0.01)
