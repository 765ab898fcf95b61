"""``python -m caas.brokers.embedded``: amqtt with our accounts and access rules, in memory only."""

# amqtt is typed but says so with no py.typed file.
# pyright: reportMissingTypeStubs=false

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amqtt.adapters import BufferReader, ReaderAdapter, WriterAdapter
from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError
from amqtt.mqtt.connack import NOT_AUTHORIZED, ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.session import Session

from caas.brokers.reload import fingerprint
from core.passwords import PasswordFile, verify_password

log = logging.getLogger(__name__)
PLUGINS = "caas.brokers.amqtt_plugins"


@dataclass(frozen=True, slots=True)
class Arguments:
    """The command line."""

    host: str
    port: int
    passwords: Path
    prefix: str


class _Recorder(ReaderAdapter):
    """Reads on, and remembers what it has read."""

    def __init__(self, reader: ReaderAdapter) -> None:
        self._reader = reader
        self.data = b""

    async def read(self, n: int = -1) -> bytes:
        data = await self._reader.read(n)
        self.data += data
        return data

    def feed_eof(self) -> None:
        self._reader.feed_eof()


class EmbeddedBroker(Broker):
    """amqtt without two holes of 0.12.

    It sends a client at each connect the retained messages of everybody's subscriptions; here they
    go out for a SUBSCRIBE of the client's own only. And it ends a connection and takes over its
    session for whoever names its client id, before it looks at the secret; here it looks first.
    """

    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config)
        self._subscribing: set[str | None] = set()

    async def end_stale(self, hashes: Mapping[str, str]) -> None:
        """End the connections of clients that could not sign in any more; their wills go out."""
        for session, handler in list(self._sessions.values()):
            user, secret = session.username, session.password
            if session.transitions.is_connected() and not verify_password(
                secret or "", hashes.get(user or "", "")
            ):
                log.warning("%s: its secret has ended", session.client_id)
                await handler.handle_connection_closed()

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        recorder = _Recorder(reader)
        _, session = await BrokerProtocolHandler.init_from_connect(
            recorder, writer, self.plugins_manager
        )
        if not await self._authenticate(session, self.listeners_config["default"]):
            await ConnackPacket.build(0, NOT_AUTHORIZED).to_stream(writer)
            await writer.close()
            raise AMQTTError("not authorised")
        return await super()._initialize_client_session(
            BufferReader(recorder.data), writer, remote_address, remote_port
        )

    async def _handle_subscription(
        self, client_session: Session, handler: Any, subscribe_waiter: asyncio.Future[Any]
    ) -> None:
        self._subscribing.add(client_session.client_id)
        try:
            await super()._handle_subscription(client_session, handler, subscribe_waiter)
        finally:
            self._subscribing.discard(client_session.client_id)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        if session.client_id in self._subscribing:
            await super()._publish_retained_messages_for_subscription(subscription, session)


def broker_config(arguments: Arguments) -> BrokerConfig:
    """One listener, our two plugins, nothing else."""
    return BrokerConfig(
        listeners={"default": ListenerConfig(bind=f"{arguments.host}:{arguments.port}")},
        session_expiry_interval=24 * 3600,
        plugins={
            f"{PLUGINS}.PasswordPlugin": {
                "passwords": str(arguments.passwords),
                "prefix": arguments.prefix,
            },
            f"{PLUGINS}.AclPlugin": {"prefix": arguments.prefix},
        },
    )


async def serve(arguments: Arguments) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = EmbeddedBroker(broker_config(arguments))
    await broker.start()
    following = asyncio.create_task(follow(broker, PasswordFile(arguments.passwords)))
    await stop.wait()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await broker.shutdown()


async def follow(broker: EmbeddedBroker, passwords: PasswordFile, every_s: float = 0.5) -> None:
    """End connections whose secret has ended, each time the password file changed."""
    seen = fingerprint(passwords.path)
    while True:
        await asyncio.sleep(every_s)
        now = fingerprint(passwords.path)
        if now == seen:
            continue
        seen = now
        try:
            await broker.end_stale(await asyncio.to_thread(passwords.read))
        except OSError as error:
            log.warning("cannot read the password file: %s", error)


def parse(argv: Sequence[str]) -> Arguments:
    """The arguments of ``argv``."""
    parser = argparse.ArgumentParser(prog="caas.brokers.embedded", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--passwords", type=Path, required=True)
    parser.add_argument("--prefix", required=True)
    found = parser.parse_args(argv)
    return Arguments(found.host, found.port, found.passwords, found.prefix)


def main() -> int:
    """Start the broker; exit status 1 with one line when the port is taken or the like."""
    # amqtt writes several lines for each connection.
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("transitions").setLevel(logging.ERROR)
    try:
        asyncio.run(serve(parse(sys.argv[1:])))
    except (AMQTTError, OSError) as error:
        print(f"embedded broker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
