"""Keeps the running broker's accounts in step with the registry, and presence with both."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg
from psycopg import AsyncConnection
from psycopg.rows import TupleRow

import core.log
from core.contracts.bus import encode
from core.contracts.topics import Topic, topic_of
from core.db import load_queries
from core.db.pool import connect
from core.errors import DomainError
from gateway import metrics
from gateway.accounts.commands import REVOKED_ROLE, Account, Command, make_role
from gateway.accounts.control import Control, open_control
from gateway.accounts.rules import (
    OFFLINE,
    REVOKED,
    Base,
    Registered,
    cut,
    farewell,
    is_settled,
    read_base,
    settle,
)
from gateway.accounts.settings import AccountsSettings
from gateway.parts import Gateway

log = core.log.get(__name__)
QUERIES = load_queries("gateway.accounts")

_RETRY_S = 2.0
# How soon a lost and regained broker, and a will that did not come, are noticed.
_LOOK_S = 0.5
# A file may be older than the last change it holds, and clocks differ: looking a day further back
# costs little.
_MARGIN = timedelta(days=1)
# What the broker began with is not known: as long as a gateway may have been away.
_UNKNOWN_BASE = timedelta(days=7)
_FIRST_LOOK = timedelta(hours=1)
# Each is up to three commands, and the broker does nothing else meanwhile.
_CHUNK = 20
_SINGLE_LOOKS = 50
_FAREWELL_ARRIVES = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class _Vin:
    vin: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of both sides at one look."""

    base: Base
    accounts: dict[str, Account]


class Keeper:
    """One gateway's; several do no harm, since what is done already is left alone."""

    def __init__(self, gateway: Gateway, settings: AccountsSettings) -> None:
        self._gateway = gateway
        self._settings = settings
        self._grace = timedelta(seconds=settings.grace_s)
        self._will_wait = timedelta(seconds=settings.will_wait_s)
        self._regained = asyncio.Event()
        self._superseded_at: datetime | None = None
        self._trouble = ""
        # (VIN, session) → when a farewell was said; it may still be on its way to our own consumer.
        self._said: dict[tuple[str, str | None], datetime] = {}

    async def run(self) -> None:
        """Until cancelled, through every absence of database and broker."""
        while True:
            try:
                await self._follow()
            except (DomainError, psycopg.Error) as error:
                self._complain(str(error))
            except Exception as error:
                log.exception("looking after the broker's accounts failed", error=str(error))
            metrics.ACCOUNTS_BEHIND.set(1)
            await asyncio.sleep(_RETRY_S)

    def _complain(self, trouble: str) -> None:
        # Once for each trouble: the broker may be away for hours.
        if trouble != self._trouble:
            log.warning("the broker's accounts may be behind", error=trouble)
        self._trouble = trouble

    async def _follow(self) -> None:
        async with self._listening() as listener, self._control() as control:
            vins: set[str] | None = None
            next_look = 0.0
            clock = asyncio.get_running_loop().time
            while True:
                if vins is None:
                    self._regained.clear()
                    next_look = clock() + self._settings.recheck_s
                again = await self.look(control, vins)
                vins = await self._announced(listener, again, next_look - clock())

    async def look(self, control: Control | None, vins: set[str] | None = None) -> set[str]:
        """Make good what is missing, for some vehicles or for all that changed lately.

        Returns those to look at again soon. ``control`` None: a broker that reads its password file
        by itself.
        """
        known = await self._known(control, vins)
        now, rows, superseded = await self._read(known, vins)
        if control is not None:
            await self._settle(control, known, rows, superseded, now)
            self._superseded_at = now
        waiting: set[str] = set()
        for row in rows:
            if await self._say_farewell(row, known, now, live=control is not None):
                waiting.add(row.vin)
        if vins is None:
            metrics.ACCOUNTS.set(len(known.accounts))
            metrics.ACCOUNTS_BEHIND.set(0)
            self._trouble = ""
        return waiting

    async def _known(self, control: Control | None, vins: set[str] | None) -> _Known:
        if control is None:
            return _Known(Base(None), {})
        role = await control.role(REVOKED_ROLE)
        if role is None:
            await control.run(make_role())
        base = read_base(str((role or {}).get("textdescription", "")))
        return _Known(base, await self._accounts(control, vins))

    async def _accounts(self, control: Control, vins: set[str] | None) -> dict[str, Account]:
        if vins is None or len(vins) > _SINGLE_LOOKS:
            return await control.accounts()
        found = [await control.account(vin) for vin in sorted(vins)]
        return {account.user: account for account in found if account is not None}

    async def _read(
        self, known: _Known, vins: set[str] | None
    ) -> tuple[datetime, list[Registered], list[str]]:
        async with self._gateway.database.transaction() as conn:
            now = await conn.value(QUERIES["now"])
            assert isinstance(now, datetime)
            since = now - _UNKNOWN_BASE
            if known.base.written_at is not None:
                since = known.base.written_at - _MARGIN
            names = sorted(known.accounts if vins is None else vins)
            rows = await conn.all(
                Registered,
                QUERIES["changed"],
                {"vins": names, "since": since if vins is None else now},
            )
            looked_at = self._superseded_at or now - _FIRST_LOOK
            found = await conn.all(_Vin, QUERIES["superseded"], {"since": looked_at})
        return now, rows, [row.vin for row in found]

    async def _settle(
        self,
        control: Control,
        known: _Known,
        rows: Sequence[Registered],
        superseded: Sequence[str],
        now: datetime,
    ) -> None:
        due: list[tuple[str, list[Command]]] = []
        for row in rows:
            commands = settle(row, known.accounts.get(row.vin), known.base, now, self._grace)
            if commands:
                due.append(("revoked" if row.status == REVOKED else "secret", commands))
        due += [("certificate", cut(vin, known.accounts.get(vin))) for vin in superseded]
        for start in range(0, len(due), _CHUNK):
            chunk = due[start : start + _CHUNK]
            await control.run([command for _, commands in chunk for command in commands])
            for reason, commands in chunk:
                metrics.KICKS.labels(reason).inc()
                log.info(
                    "account changed at the broker", reason=reason, vin=commands[0]["username"]
                )
        if due:
            names = {str(commands[0]["username"]) for _, commands in due}
            for name in names:
                known.accounts.pop(name, None)
            known.accounts.update(await self._accounts(control, names))

    async def _say_farewell(
        self, row: Registered, known: _Known, now: datetime, *, live: bool
    ) -> bool:
        """Publish what its will would have said; True where it is too early to know."""
        account = known.accounts.get(row.vin)
        # Without the plugin: only where it is sure that the vehicle cannot be back.
        settled = is_settled(row, account) if live else row.status == REVOKED
        said = farewell(row, settled=settled, now=now, will_wait=self._will_wait)
        if said is None:
            soon = self._will_wait + self._grace
            return row.presence != OFFLINE and now - row.changed_at < soon
        self._said = {key: at for key, at in self._said.items() if now - at < _FAREWELL_ARRIVES}
        if (row.vin, row.session) in self._said:
            return False
        bus = self._gateway.bus.bus
        if bus is None:
            return True
        topic = topic_of(self._gateway.bus_settings.prefix, row.vin, Topic.PRESENCE)
        await bus.publish(topic, encode(said), retain=True)
        self._said[row.vin, row.session] = now
        metrics.FAREWELLS.inc()
        log.info("a connection was ended and left no will", vin=row.vin, session=row.session)
        return False

    async def _announced(
        self, listener: AsyncConnection[TupleRow], again: set[str], left_s: float
    ) -> set[str] | None:
        """VINs whose credentials ended just now, with ``again`` a little later; None = all of them.

        All of them are due in ``left_s``, or once the broker is back.
        """
        while left_s > 0:
            vins: set[str] = set()
            async for notice in listener.notifies(timeout=_LOOK_S, stop_after=1):
                vins.add(notice.payload)
            async for notice in listener.notifies(timeout=0):
                vins.add(notice.payload)
            if self._regained.is_set():
                return None
            if vins or again:
                return vins | again
            left_s -= _LOOK_S
        return None

    async def _on_connect(self) -> None:
        self._regained.set()

    @asynccontextmanager
    async def _listening(self) -> AsyncGenerator[AsyncConnection[TupleRow]]:
        listener = await connect(self._gateway.database.dsn)
        try:
            await listener.execute(QUERIES["listen"])
            yield listener
        finally:
            with contextlib.suppress(psycopg.Error):
                await listener.close()

    @asynccontextmanager
    async def _control(self) -> AsyncGenerator[Control | None]:
        bus = self._gateway.bus_settings
        if not self._settings.live or bus.protocol != "5":
            yield None
            return
        async with open_control(
            bus,
            client_id=f"caas-gateway-{bus.slot}-accounts",
            deadline_s=self._settings.deadline_s,
            on_connect=self._on_connect,
        ) as control:
            yield control
