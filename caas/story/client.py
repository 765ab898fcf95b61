"""HTTP and waiting for the story: every call outlives the restart of the service it talks to."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from core.ids import new_id

T = TypeVar("T")

RETRY_S = 0.2
GIVE_UP_S = 30.0
POLL_S = 0.1
# What says "not now": the service restarts, or waits for a part of its own.
NOT_NOW = frozenset({502, 503, 504})


class Refused(Exception):
    """The platform answered with an error; ``status`` and ``code`` as DOMAIN 16 has them."""

    def __init__(self, method: str, url: str, status: int, body: Any) -> None:
        super().__init__(f"{method} {url}: {status} {body}")
        self.status = status
        self.body = body
        self.code = _code(body)


class TimedOut(Exception):
    """What was waited for did not come about in time."""


class Client:
    """A client of one base URL, with a bearer token once it has logged in."""

    def __init__(self, base_url: str, token: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=base_url, headers=headers, timeout=10.0, trust_env=False
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, path: str, **params: Any) -> Any:
        return await self.call("GET", path, params=params)

    async def post(self, path: str, body: Any = None) -> Any:
        return await self.call("POST", path, body=body)

    async def put(self, path: str, body: Any = None) -> Any:
        return await self.call("PUT", path, body=body)

    async def delete(self, path: str) -> Any:
        return await self.call("DELETE", path)

    async def call(
        self, method: str, path: str, *, body: Any = None, params: dict[str, Any] | None = None
    ) -> Any:
        """One call that has its effect once, however often it has to be sent.

        Every attempt carries the same ``Idempotency-Key`` and ``X-Request-ID``.
        """
        key = str(new_id())
        headers = {"X-Request-ID": key}
        if method != "GET":
            headers["Idempotency-Key"] = key
        give_up = time.monotonic() + GIVE_UP_S
        while True:
            try:
                answer = await self._http.request(
                    method, path, json=body, params=params, headers=headers
                )
                if answer.status_code not in NOT_NOW:
                    break
                trouble = f"{answer.status_code} {answer.text[:200]}"
            except httpx.TransportError as error:
                trouble = f"{type(error).__name__} {error}"
            if time.monotonic() > give_up:
                raise TimedOut(f"{method} {path}: still {trouble} after {GIVE_UP_S:g} s")
            await asyncio.sleep(RETRY_S)
        content = _json(answer)
        if answer.is_error:
            raise Refused(method, str(answer.url), answer.status_code, content)
        return content


async def wait_for(
    what: str,
    read: Callable[[], Awaitable[T]],
    holds: Callable[[T], bool],
    *,
    within_s: float = 30.0,
) -> T:
    """Read again and again until ``holds``; TimedOut with the last reading otherwise."""
    give_up = time.monotonic() + within_s
    while True:
        seen = await read()
        if holds(seen):
            return seen
        if time.monotonic() > give_up:
            raise TimedOut(f"{what}: not within {within_s:g} s, last seen {_short(seen)}")
        await asyncio.sleep(POLL_S)


def _json(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _code(body: Any) -> str | None:
    try:
        return body["error"]["code"]
    except (KeyError, TypeError):
        return None


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 400 else text[:400] + "…"
