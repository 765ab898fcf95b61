"""What became of a command, told to its caller's URL: at least once, signed (DOMAIN 9)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import httpx

import core.log
from core.contracts.iot_api import OtaStatus
from core.contracts.states import CommandState
from core.db import Connection
from core.errors import NotFound
from core.ids import new_id
from gateway.dispatch.service import Ended
from gateway.iot_api.clients import ClientId
from gateway.iot_api.lanes import Lanes, repeat, side_by_side
from gateway.iot_api.metrics import CALLBACKS, WAITING
from gateway.iot_api.outgoing import AT_ONCE, ROUND, Outcome, lease_s, open_client, post
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.vehicles import QUERIES
from gateway.parts import Gateway

log = core.log.get(__name__)


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
    """Try dead letters again, one or all; how many. NotFound where the one is not dead.

    Those of a revoked client stay dead.
    """
    params = {"now": now, "callback_id": callback_id}
    revived = await conn.execute(QUERIES["revive_callbacks"], params)
    if callback_id is not None and not revived:
        raise NotFound(
            "NO_DEAD_LETTER", f"no callback {callback_id} is a dead letter of an active client"
        )
    return revived


class Deliverer:
    """Sends what is due, in any number of replicas; one client never waits for another."""

    def __init__(self, gateway: Gateway, settings: IotApiSettings) -> None:
        self._gateway = gateway
        self._settings = settings

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until ``stop``; what is under way then is sent again later."""
        async with open_client(self._settings.callback_timeout_s) as client:
            lanes = Lanes(partial(self._serve, client))

            async def turn() -> None:
                lanes.start(await self._clients())

            try:
                await repeat(stop, self._settings.callback_poll_s, "callbacks", turn)
            finally:
                await lanes.close()

    async def _clients(self) -> list[str]:
        """Who is to be told something now."""
        now = self._gateway.clock.now()
        async with self._gateway.database.transaction() as conn:
            clients = await conn.all(ClientId, QUERIES["clients_with_callbacks"], {"now": now})
            counts = await conn.all(_Count, QUERIES["count_callbacks"])
        waiting = {count.state: count.callbacks for count in counts}
        for state in ("PENDING", "DEAD"):
            WAITING.labels(state).set(waiting.get(state, 0))
        return [item.client_id for item in clients]

    async def _serve(self, client: httpx.AsyncClient, client_id: str) -> None:
        while due := await self._claim(client_id):
            unsaved = {item.callback_id for item in due}

            async def send(item: _Due, unsaved: set[UUID] = unsaved) -> None:
                await self._deliver(client, item)
                unsaved.discard(item.callback_id)

            try:
                await side_by_side(due, AT_ONCE, send)
            finally:
                if unsaved:
                    await self._release(list(unsaved))

    async def _claim(self, client_id: str) -> list[_Due]:
        now = self._gateway.clock.now()
        lease = now + timedelta(seconds=lease_s(self._settings.callback_timeout_s))
        params = {"client_id": client_id, "now": now, "lease": lease, "most": ROUND}
        async with self._gateway.database.transaction() as conn:
            return await conn.all(_Due, QUERIES["claim_callbacks"], params)

    async def _release(self, ids: list[UUID]) -> None:
        """Stopped while it was sent: another replica need not wait for the lease to end."""
        async with self._gateway.database.transaction() as conn:
            params = {"ids": ids, "now": self._gateway.clock.now()}
            await conn.execute(QUERIES["release_callbacks"], params)

    async def _deliver(self, client: httpx.AsyncClient, item: _Due) -> None:
        sent = await post(
            client,
            item.callback_url,
            item.callback_secret,
            message_id=str(item.callback_id),
            body=item.body,
            now=self._gateway.clock.now(),
            timeout_s=self._settings.callback_timeout_s,
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
