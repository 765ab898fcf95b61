"""Publishes queued commands, in batches and by any number of replicas."""

import asyncio
import contextlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg

import core.log
from core.bus import Bus, BusUnavailable, Properties, PublishFailed
from core.contracts.bus import Command
from core.contracts.jws import CONTENT_TYPE, sign
from core.contracts.topics import Topic, topic_of
from core.db.pool import connect
from core.errors import DomainError
from core.keys import KeyFile
from gateway.dispatch.metrics import OPEN, PUBLISHES
from gateway.dispatch.service import QUERIES
from gateway.dispatch.settings import DispatchSettings
from gateway.parts import Gateway

log = core.log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Body:
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Count:
    state: str
    commands: int


class Dispatcher:
    """Claims, signs, publishes, notes; a crash between is made good by publishing again."""

    def __init__(self, gateway: Gateway, settings: DispatchSettings) -> None:
        self._gateway = gateway
        self._settings = settings
        self._keys = KeyFile(gateway.signing.keys_file)
        self._news = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until ``stop``, through every absence of the broker or the database."""
        listening = asyncio.create_task(self._listen())
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                self._news.clear()
                if await self._turn() == self._settings.batch:
                    continue
                await self._rest(stopping)
        finally:
            listening.cancel()
            stopping.cancel()
            await asyncio.wait({listening})

    async def _turn(self) -> int:
        try:
            published = await self.publish_due()
            await self._gauge()
        except DomainError as error:
            log.warning("commands not published yet", error=str(error))
            return 0
        except Exception:
            log.exception("publishing commands failed")
            return 0
        return published

    async def publish_due(self) -> int:
        """One batch; the number of commands taken. BusUnavailable without a connection."""
        bus = self._gateway.bus.bus
        if bus is None or not bus.connected:
            raise BusUnavailable("no connection to the broker")
        now = self._gateway.clock.now()
        key = self._keys.load().signer(now)
        next_try = now + timedelta(seconds=self._settings.republish_s)
        async with self._gateway.database.transaction() as conn:
            params = {"now": now, "next_try": next_try, "batch": self._settings.batch}
            rows = await conn.all(_Body, QUERIES["claim"], params)
        commands = [msgspec.convert(row.body, Command) for row in rows]
        # Started in the order of their numbers, and the bus keeps it; confirmed all at once.
        sent = await asyncio.gather(
            *(self._publish(bus, command, sign(command, key)) for command in commands)
        )
        published = [command_id for command_id in sent if command_id is not None]
        if published:
            async with self._gateway.database.transaction() as conn:
                params = {"ids": published, "now": self._gateway.clock.now()}
                await conn.execute(QUERIES["mark_published"], params)
        return len(commands)

    async def _publish(self, bus: Bus, command: Command, payload: bytes) -> UUID | None:
        left_s = int((command.expires_at - self._gateway.clock.now()).total_seconds())
        if left_s < 1:
            return None  # the vehicle would refuse it; its time is over anyway
        prefix = self._gateway.bus_settings.prefix
        try:
            await bus.publish(
                topic_of(prefix, command.vin, Topic.CMD),
                payload,
                properties=Properties(
                    content_type=CONTENT_TYPE,
                    response_topic=topic_of(prefix, command.vin, Topic.ANSWER),
                    correlation=command.command_id.bytes,
                    expiry_s=left_s,
                ),
                timeout_s=self._settings.publish_timeout_s,
            )
        except PublishFailed as error:
            PUBLISHES.labels("refused").inc()
            log.error("command refused by the broker", vin=command.vin, reason=error.reason)
            return None
        except BusUnavailable as error:
            PUBLISHES.labels("unavailable").inc()
            log.warning("command not published yet", vin=command.vin, error=str(error))
            return None
        PUBLISHES.labels("ok").inc()
        return command.command_id

    async def _gauge(self) -> None:
        async with self._gateway.database.transaction() as conn:
            counts = await conn.all(_Count, QUERIES["count_by_state"])
        commands = {count.state: count.commands for count in counts}
        for state in ("QUEUED", "IN_PROGRESS"):
            OPEN.labels(state).set(commands.get(state, 0))

    async def _rest(self, stopping: asyncio.Task[bool]) -> None:
        news = asyncio.create_task(self._news.wait())
        try:
            await asyncio.wait(
                {news, stopping},
                timeout=self._settings.poll_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            news.cancel()

    async def _listen(self) -> None:
        while True:
            try:
                listener = await connect(self._gateway.database.dsn)
                try:
                    await listener.execute(QUERIES["listen"])
                    async for _ in listener.notifies():
                        self._news.set()
                finally:
                    with contextlib.suppress(psycopg.Error):
                        await listener.close()
            except (DomainError, psycopg.Error) as error:
                log.warning("not listening for new commands", error=str(error))
            await asyncio.sleep(self._settings.poll_s)
