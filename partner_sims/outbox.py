"""The partners' webhooks: saved with what they report, sent at least once, signed (DOMAIN 17)."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import httpx
from prometheus_client import Counter

import core.log
from core.clock import Clock, rfc3339
from core.ids import new_id
from partner_sims import signing
from partner_sims.settings import PartnerSimsSettings
from partner_sims.store import Store

log = core.log.get(__name__)

Partner = Literal["factory", "payments", "authority"]
_LONGEST_SLEEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Webhook:
    """One message to the platform, and how its delivery stands."""

    webhook_id: str
    partner: Partner
    path: str
    body: str
    event_at: str
    state: str
    attempts: int
    next_at: float | None
    last_answer: str | None


class Outbox:
    """Keeps webhooks until the platform confirms them with a 2xx or the resends are used up."""

    def __init__(
        self, store: Store, clock: Clock, settings: PartnerSimsSettings, sent: Counter
    ) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._sent = sent
        self._woken = asyncio.Event()
        # Held while a round of deliveries is under way.
        self._delivering = asyncio.Lock()

    def put(
        self,
        partner: Partner,
        path: str,
        body: Mapping[str, Any],
        event_at: datetime,
        *,
        delay_s: float = 0.0,
    ) -> str:
        """Save a webhook inside the caller's transaction; its id."""
        webhook_id = str(new_id())
        self._store.run(
            "webhook_insert",
            webhook_id=webhook_id,
            partner=partner,
            path=path,
            body=json.dumps(body, ensure_ascii=False),
            event_at=rfc3339(event_at),
            next_at=self._now() + delay_s,
        )
        self._woken.set()
        return webhook_id

    def resend(self, webhook_id: str) -> bool:
        """Have a webhook sent (again) at once, with all resends before it; False if unknown."""
        changed = self._store.run("webhook_resend", webhook_id=webhook_id, now=self._now())
        self._woken.set()
        return changed > 0

    async def forget(self) -> int:
        """Give up every webhook that waits; the number. None is under way when this returns."""
        async with self._delivering:
            with self._store.transaction():
                return self._store.run("webhook_forget")

    def list(self, state: str | None = None) -> list[Webhook]:
        """The newest 500 webhooks, newest first."""
        return self._store.all(Webhook, "webhook_list", state=state)

    async def run(self) -> None:
        """Deliver until cancelled."""
        # No proxy of the machine stands between the partners and the platform.
        async with httpx.AsyncClient(
            timeout=self._settings.webhook_timeout_s, trust_env=False
        ) as client:
            while True:
                self._woken.clear()
                async with self._delivering:
                    due = self._store.all(Webhook, "webhook_due", now=self._now())
                    await asyncio.gather(*(self._deliver(client, webhook) for webhook in due))
                if due:
                    continue
                try:
                    await asyncio.wait_for(self._woken.wait(), self._sleep_s())
                except TimeoutError:
                    continue

    async def _deliver(self, client: httpx.AsyncClient, webhook: Webhook) -> None:
        body = webhook.body.encode()
        url = f"{self._settings.platform_url.rstrip('/')}{webhook.path}"
        try:
            answer = await client.post(url, content=body, headers=self._headers(webhook, body))
            confirmed, outcome = answer.is_success, f"{answer.status_code} {answer.text[:200]}"
        except httpx.HTTPError as error:
            confirmed, outcome = False, f"{type(error).__name__}: {error}"
        self._record(webhook, confirmed=confirmed, outcome=outcome)

    def _headers(self, webhook: Webhook, body: bytes) -> dict[str, str]:
        settings = self._settings
        secret, header, sent_at = {
            # The factory's resends keep the event's time; the receiver deduplicates (DOMAIN 17).
            "factory": (
                settings.factory_webhook_secret,
                signing.FACTORY_HEADER,
                webhook.event_at,
            ),
            "payments": (
                settings.payment_webhook_secret,
                signing.SIGNATURE_HEADER,
                rfc3339(self._clock.now()),
            ),
            "authority": (
                settings.authority_webhook_secret,
                signing.SIGNATURE_HEADER,
                rfc3339(self._clock.now()),
            ),
        }[webhook.partner]
        return {
            "Content-Type": "application/json",
            header: signing.sign(body, secret.get_secret_value()),
            signing.ID_HEADER: webhook.webhook_id,
            signing.TIMESTAMP_HEADER: sent_at,
        }

    def _record(self, webhook: Webhook, *, confirmed: bool, outcome: str) -> None:
        delays = self._settings.webhook_retry_delays_s
        attempts = webhook.attempts + 1
        next_at: float | None = None
        state = "DELIVERED" if confirmed else "FAILED"
        if not confirmed and attempts <= len(delays):
            state, next_at = "PENDING", self._now() + delays[attempts - 1]
        with self._store.transaction():
            self._store.run(
                "webhook_result",
                webhook_id=webhook.webhook_id,
                state=state,
                attempts=attempts,
                next_at=next_at,
                last_answer=outcome,
            )
        self._sent.labels(webhook.partner, state.lower()).inc()
        say = log.info if confirmed else log.warning
        say(
            "webhook sent",
            partner=webhook.partner,
            webhook_id=webhook.webhook_id,
            path=webhook.path,
            attempt=attempts,
            state=state,
            answer=outcome,
        )

    def _sleep_s(self) -> float:
        first = self._store.one(Webhook, "webhook_first")
        if first is None or first.next_at is None:
            return _LONGEST_SLEEP_S
        return min(max(first.next_at - self._now(), 0.01), _LONGEST_SLEEP_S)

    def _now(self) -> float:
        return self._clock.now().timestamp()
