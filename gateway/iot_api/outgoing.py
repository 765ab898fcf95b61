"""Signed posts to a client's own URL (DOMAIN 9 and 17)."""

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

import httpx

from core.clock import rfc3339
from core.contracts.iot_api import MESSAGE_ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the client took it, and what it answered."""

    taken: bool
    answer: str


def open_client(timeout_s: float) -> httpx.AsyncClient:
    """No redirects: the URL is the registered one. No proxy of the environment."""
    return httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)


async def post(
    client: httpx.AsyncClient, url: str, secret: str, *, message_id: str, body: str, now: datetime
) -> Outcome:
    """Send once; whatever goes wrong is an outcome."""
    content = body.encode()
    headers = {
        "Content-Type": "application/json",
        SIGNATURE_HEADER: hmac.new(secret.encode(), content, hashlib.sha256).hexdigest(),
        MESSAGE_ID_HEADER: message_id,
        TIMESTAMP_HEADER: rfc3339(now),
    }
    try:
        answer = await client.post(url, content=content, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Outcome(False, f"{type(error).__name__}: {error}"[:200])
    return Outcome(answer.is_success, str(answer.status_code))
