"""Sends the telemetry that waits for clients to their URLs, at least once (DOMAIN 9)."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import httpx

import core.log
from gateway.iot_api.clients import ClientId
from gateway.iot_api.lanes import Lanes, repeat, side_by_side
from gateway.iot_api.metrics import PUSHES, PUSHES_LOST
from gateway.iot_api.outgoing import AT_ONCE, ROUND, Outcome, lease_s, open_client, post
from gateway.iot_api.settings import IotApiSettings
from gateway.iot_api.telemetry import Outbox
from gateway.iot_api.vehicles import QUERIES
from gateway.parts import Gateway

log = core.log.get(__name__)

_COUNT_EVERY_S = 2.0


@dataclass(frozen=True, slots=True)
class Due:
    """A message that is to be sent now; ``attempts``: how often it was before."""

    push_id: int
    vin: str
    boot: int
    n: int
    body: str
    attempts: int
    telemetry_url: str
    callback_secret: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of each message of a round."""

    taken: list[int] = field(default_factory=list[int])
    refused: list[int] = field(default_factory=list[int])
    again: dict[int, float] = field(default_factory=dict[int, float])
    waiting: list[int] = field(default_factory=list[int])


def judge(sent: Sequence[tuple[Due, Outcome]], waits_s: Sequence[float]) -> Verdict:
    """A round's verdict; ``again`` maps a message to the seconds until it is tried again, and
    ``waiting`` are those that wait until the client is there again.

    Where another message of the round was taken the client is there, and a message that is not is
    its own affair: tried after each wait, then refused. Where none was, the client is away: it is
    left alone for a while and loses nothing by it. What it refuses for good is never sent again.
    """
    verdict = Verdict(
        taken=[item.push_id for item, outcome in sent if outcome.taken],
        refused=[item.push_id for item, outcome in sent if outcome.is_final],
    )
    failed = [item for item, outcome in sent if not outcome.taken and not outcome.is_final]
    if not verdict.taken:
        verdict.waiting.extend(item.push_id for item in failed)
        return verdict
    for item in failed:
        if item.attempts < len(waits_s):
            verdict.again[item.push_id] = waits_s[item.attempts]
        else:
            verdict.refused.append(item.push_id)
    return verdict


class Pusher:
    """Sends what is queued, in any number of replicas; one client never waits for another."""

    def __init__(self, gateway: Gateway, settings: IotApiSettings, outbox: Outbox) -> None:
        self._gateway = gateway
        self._settings = settings
        self._outbox = outbox
        self._counted_at = float("-inf")

    async def run(self, stop: asyncio.Event) -> None:
        """Send until ``stop``; what is under way then is sent again later."""
        async with open_client(self._settings.callback_timeout_s) as client:
            lanes = Lanes(partial(self._serve, client))

            async def turn() -> None:
                lanes.start(await self._clients())

            try:
                await repeat(stop, self._settings.callback_poll_s, "pushing telemetry", turn)
            finally:
                await lanes.close()

    async def _clients(self) -> list[str]:
        """Who is to be sent something now; and what is too old is given up."""
        now, loop_s = self._gateway.clock.now(), asyncio.get_running_loop().time()
        oldest = now - timedelta(seconds=self._settings.telemetry_keep_s)
        async with self._gateway.database.transaction() as conn:
            await self._outbox.refresh(conn)
            expired = await conn.execute(QUERIES["expire_pushes"], {"oldest": oldest})
            if expired or loop_s - self._counted_at >= _COUNT_EVERY_S:
                await self._outbox.count(conn)
                self._counted_at = loop_s
            clients = await conn.all(ClientId, QUERIES["clients_with_pushes"], {"now": now})
        PUSHES_LOST.labels("expired").inc(expired)
        return [item.client_id for item in clients]

    async def _serve(self, client: httpx.AsyncClient, client_id: str) -> None:
        while due := await self._claim(client_id):
            sent: list[tuple[Due, Outcome]] = []

            async def send(item: Due, sent: list[tuple[Due, Outcome]] = sent) -> None:
                sent.append((item, await self._push(client, client_id, item)))

            try:
                await side_by_side(due, AT_ONCE, send)
            finally:
                over = {item.push_id for item, _ in sent}
                unsent = [item.push_id for item in due if item.push_id not in over]
                await self._save(client_id, judge(sent, self._settings.callback_waits_s), unsent)

    async def _claim(self, client_id: str) -> list[Due]:
        now = self._gateway.clock.now()
        lease = now + timedelta(seconds=lease_s(self._settings.callback_timeout_s))
        params = {"client_id": client_id, "now": now, "lease": lease, "most": ROUND}
        async with self._gateway.database.transaction() as conn:
            return await conn.all(Due, QUERIES["claim_pushes"], params)

    async def _push(self, client: httpx.AsyncClient, client_id: str, item: Due) -> Outcome:
        sent = await post(
            client,
            item.telemetry_url,
            item.callback_secret,
            # The batch's own name: the same at each try, and if the vehicle sends it again.
            message_id=f"{item.vin}-{item.boot}-{item.n}",
            body=item.body,
            now=self._gateway.clock.now(),
            timeout_s=self._settings.callback_timeout_s,
        )
        if not sent.taken:
            log.warning("telemetry not taken", client_id=client_id, answer=sent.answer)
        return sent

    async def _save(self, client_id: str, verdict: Verdict, unsent: list[int]) -> None:
        gone = [*verdict.taken, *verdict.refused]
        async with self._gateway.database.transaction() as conn:
            now = self._gateway.clock.now()
            await conn.execute(QUERIES["delete_pushes"], {"ids": gone})
            # Behind the others that wait: the next round is not the same again.
            released = [*unsent, *verdict.waiting]
            await conn.execute(QUERIES["release_pushes"], {"ids": released, "now": now})
            if verdict.again:
                ats = [now + timedelta(seconds=wait_s) for wait_s in verdict.again.values()]
                params = {"ids": list(verdict.again), "ats": ats}
                await conn.execute(QUERIES["postpone_pushes"], params)
            if verdict.waiting:
                failures = await conn.value(QUERIES["count_failures"], {"client_id": client_id})
                params = {"client_id": client_id, "next_at": self._pause_end(now, failures or 0)}
                await conn.execute(QUERIES["pause"], params)
            elif verdict.taken:
                await conn.execute(QUERIES["end_pause"], {"client_id": client_id})
        self._outbox.gone(client_id, len(gone))
        PUSHES_LOST.labels("refused").inc(len(verdict.refused))
        PUSHES.labels("delivered").inc(len(verdict.taken))
        PUSHES.labels("refused").inc(len(verdict.refused))
        PUSHES.labels("again").inc(len(verdict.again) + len(verdict.waiting))

    def _pause_end(self, now: datetime, failures: int) -> datetime:
        waits = self._settings.callback_waits_s
        wait_s = waits[min(failures, len(waits) - 1)] if waits else 0.0
        return now + timedelta(seconds=wait_s)
