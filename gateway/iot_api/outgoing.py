"""Signed posts to a client's own URL (DOMAIN 9 and 17)."""

import asyncio
import contextlib
import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime

import httpx

import core.log
from core.clock import rfc3339
from core.contracts.iot_api import MESSAGE_ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER

log = core.log.get(__name__)

# Of one client, under way at once.
AT_ONCE = 8
# Taken up at a time.
ROUND = 5 * AT_ONCE
_SPARE_S = 30.0
_ANSWER_BYTES = 65_536
# The request took too long for it, or came too soon (RFC 9110, RFC 6585): both may pass later.
_PASSING = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the client took it, and what it answered; ``status`` is None without an answer."""

    taken: bool
    answer: str
    status: int | None = None

    @property
    def is_final(self) -> bool:
        """Whether the client refuses this message itself: the same again would be refused too."""
        return self.status is not None and 400 <= self.status < 500 and self.status not in _PASSING


def open_client(timeout_s: float) -> httpx.AsyncClient:
    """No redirects: the URL is the registered one. No proxy of the environment.

    No limit on connections: each client has its own, and none waits for another's. ``timeout_s`` is
    that of a single step; :func:`post` limits the whole.
    """
    return httpx.AsyncClient(
        timeout=timeout_s,
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
    )


def lease_s(timeout_s: float) -> float:
    """Seconds after which a round of posts is over, or its replica dead."""
    return _SPARE_S + ROUND / AT_ONCE * timeout_s


async def post(
    client: httpx.AsyncClient,
    url: str,
    secret: str,
    *,
    message_id: str,
    body: str,
    now: datetime,
    timeout_s: float,
) -> Outcome:
    """Send once, within ``timeout_s`` in all; whatever goes wrong is an outcome.

    Of the answer only the status counts. Its body is read, as far as it is short and quick, for
    the connection to be used again; it is not unpacked.
    """
    content = body.encode()
    headers = {
        "Content-Type": "application/json",
        SIGNATURE_HEADER: hmac.new(secret.encode(), content, hashlib.sha256).hexdigest(),
        MESSAGE_ID_HEADER: message_id,
        TIMESTAMP_HEADER: rfc3339(now),
    }
    outcome: Outcome | None = None
    try:
        async with (
            asyncio.timeout(timeout_s),
            client.stream("POST", url, content=content, headers=headers) as answer,
        ):
            outcome = Outcome(answer.is_success, str(answer.status_code), answer.status_code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(1.0, timeout_s / 2)):
                    await _drain(answer)
    except TimeoutError:
        return outcome or Outcome(False, f"no answer within {timeout_s:g} s")
    except Exception as error:
        # A URL can fail in more ways than httpx names (an IDNAError, for one), and nothing of one
        # client's may end what serves it.
        return outcome or Outcome(False, f"{type(error).__name__}: {error}"[:200])
    return outcome


async def _drain(answer: httpx.Response) -> None:
    seen = 0
    async for chunk in answer.aiter_raw():
        seen += len(chunk)
        if seen > _ANSWER_BYTES:
            return
