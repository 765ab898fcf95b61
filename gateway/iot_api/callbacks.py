"""What became of a command, told to its caller's URL: at least once, signed (DOMAIN 9)."""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import httpx

import core.log
from core.contracts.iot_api import OtaStatus
from core.contracts.states import CommandState
from core.db import Connection
from core.errors import DomainError, NotFound
from core.ids import new_id
from gateway.dispatch.service import Ended
from gateway.iot_api.metrics import CALLBACKS, WAITING
from gateway.iot_api.outgoing import Outcome, open_client, post
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.vehicles import QUERIES
from gateway.parts import Gateway

log = core.log.get(__name__)

# Claimed by a replica that dies: another takes it up after this long.
_LEASE_S = 60.0


@dataclass(frozen=True, slots=True)
class Callback:
    """A callback as an operator sees it."""

    callback_id: UUID
    client_id: str
    command_id: UUID
    state: str
    attempts: int
    next_at: datetime | None
    last_answer: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class _Wanted:
    client_id: str
    request_id: str
    command_id: UUID


@dataclass(frozen=True, slots=True)
class _Due:
    callback_id: UUID
    body: str
    attempts: int
    callback_url: str
    callback_secret: str


@dataclass(frozen=True, slots=True)
class _Count:
    state: str
    callbacks: int


async def put(conn: Connection, ended: Sequence[Ended]) -> None:
    """Save a callback for each command whose caller wants one, where the command ends."""
    by_id = {item.command_id: item for item in ended}
    for wanted in await conn.all(_Wanted, QUERIES["wanted_callbacks"], {"ids": list(by_id)}):
        item = by_id[wanted.command_id]
        done = item.state == CommandState.COMPLETED
        body = OtaStatus(
            request_id=wanted.request_id,
            command_id=item.command_id,
            vin=item.vin,
            status="ACTIVATED" if done else "FAILED",
            error_code=item.error_code,
            timestamp=item.completed_at,
        )
        await conn.execute(
            QUERIES["insert_callback"],
            {
                "callback_id": new_id(),
                "client_id": wanted.client_id,
                "command_id": item.command_id,
                "body": body.model_dump_json(by_alias=True),
                "now": item.completed_at,
            },
        )


async def list_callbacks(
    conn: Connection, *, state: str | None = None, limit: int = 100
) -> list[Callback]:
    """The newest first; DEAD are the dead letters."""
    return await conn.all(Callback, QUERIES["callbacks"], {"state": state, "limit": limit})


async def revive(conn: Connection, now: datetime, callback_id: UUID | None = None) -> int:
    """Try dead letters again, one or all; how many. NotFound where the one is not dead."""
    params = {"now": now, "callback_id": callback_id}
    revived = await conn.execute(QUERIES["revive_callbacks"], params)
    if callback_id is not None and not revived:
        raise NotFound("NO_DEAD_LETTER", f"no callback {callback_id} is a dead letter")
    return revived


class Deliverer:
    """Sends what is due, in any number of replicas."""

    def __init__(self, gateway: Gateway, settings: IotApiSettings) -> None:
        self._gateway = gateway
        self._settings = settings

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop``."""
        async with open_client(self._settings.callback_timeout_s) as client:
            while not stop.is_set():
                try:
                    if await self.deliver_due(client):
                        continue
                except DomainError as error:
                    log.warning("callbacks interrupted", error=str(error))
                except Exception:
                    log.exception("callbacks failed")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), self._settings.callback_poll_s)

    async def deliver_due(self, client: httpx.AsyncClient) -> int:
        """One round; how many were tried."""
        now = self._gateway.clock.now()
        async with self._gateway.database.transaction() as conn:
            lease = now + timedelta(seconds=_LEASE_S)
            due = await conn.all(_Due, QUERIES["claim_callbacks"], {"now": now, "lease": lease})
            counts = await conn.all(_Count, QUERIES["count_callbacks"])
        waiting = {count.state: count.callbacks for count in counts}
        for state in ("PENDING", "DEAD"):
            WAITING.labels(state).set(waiting.get(state, 0))
        await asyncio.gather(*(self._deliver(client, item) for item in due))
        return len(due)

    async def _deliver(self, client: httpx.AsyncClient, item: _Due) -> None:
        sent = await post(
            client,
            item.callback_url,
            item.callback_secret,
            message_id=str(item.callback_id),
            body=item.body,
            now=self._gateway.clock.now(),
        )
        await self._save(item, sent)

    async def _save(self, item: _Due, sent: Outcome) -> None:
        waits = self._settings.callback_waits_s
        attempts = item.attempts + 1
        state, next_at = "DELIVERED" if sent.taken else "DEAD", None
        if not sent.taken and attempts <= len(waits):
            state = "PENDING"
            next_at = self._gateway.clock.now() + timedelta(seconds=waits[attempts - 1])
        async with self._gateway.database.transaction() as conn:
            await conn.execute(
                QUERIES["save_callback"],
                {
                    "callback_id": item.callback_id,
                    "state": state,
                    "attempts": attempts,
                    "next_at": next_at,
                    "last_answer": sent.answer,
                },
            )
        CALLBACKS.labels({"PENDING": "again"}.get(state, state.lower())).inc()
        say = log.info if sent.taken else log.warning
        say("callback", callback_id=str(item.callback_id), state=state, answer=sent.answer)
