"""The platform's public command keys: fetched, kept, and fetched again for a key not yet known."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import cast

import httpx
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, KeySetSerialization
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

import core.log
from core.errors import Unavailable

log = core.log.get(__name__)

FETCH_TIMEOUT_S = 5.0
# An unknown key id makes a vehicle ask, but not more often than this: a forger picks ids freely.
ASK_AGAIN_S = 5.0
# Retired keys must stop counting some day.
REFRESH_S = 600.0

Fetch = Callable[[], Awaitable[KeySet]]


class KeysUnavailable(Unavailable):
    """The gateway does not give its keys."""

    def __init__(self, message: str) -> None:
        super().__init__("KEYS_UNAVAILABLE", message)


def fetch_from(url: str, client: httpx.AsyncClient) -> Fetch:
    """A function that gets the JWK set at ``url``; KeysUnavailable where there is none."""

    async def fetch() -> KeySet:
        try:
            answer = await client.get(url, timeout=FETCH_TIMEOUT_S)
            answer.raise_for_status()
            return KeySet.import_key_set(cast("KeySetSerialization", answer.json()))
        except (httpx.HTTPError, json.JSONDecodeError, JoseError, KeyError, TypeError) as error:
            raise KeysUnavailable(f"{url}: {error or type(error).__name__}") from None

    return fetch


class KeyRing:
    """The keys a vehicle trusts, shared by a fleet."""

    def __init__(
        self, fetch: Fetch, *, ask_again_s: float = ASK_AGAIN_S, refresh_s: float = REFRESH_S
    ) -> None:
        self._fetch = fetch
        self._ask_again_s = ask_again_s
        self._refresh_s = refresh_s
        self._keys: KeySet | None = None
        self._fetched_at = 0.0
        self._lock = asyncio.Lock()

    async def for_command(self, payload: bytes) -> KeySet:
        """The keys to judge ``payload`` with; waits until there are any at all."""
        keys = self._keys or await self._first()
        age = asyncio.get_running_loop().time() - self._fetched_at
        unknown = _kid(payload) not in {key.kid for key in keys.keys}
        if (unknown and age > self._ask_again_s) or age > self._refresh_s:
            return await self._again(keys)
        return keys

    async def keep_trying(self, stop: asyncio.Event) -> None:
        """Get the first keys before the first command comes; ends with them or with ``stop``."""
        first = asyncio.create_task(self._first())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({first, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (first, stopping):
            task.cancel()
        await asyncio.wait({first, stopping})

    async def check(self) -> None:
        """Health: KeysUnavailable while no key is known."""
        if self._keys is None:
            raise KeysUnavailable("no command keys yet")

    async def _first(self) -> KeySet:
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(KeysUnavailable),
            wait=wait_random_exponential(multiplier=0.2, max=5),
        ):
            with attempt:
                async with self._lock:
                    if self._keys is None:
                        await self._load()
        assert self._keys is not None
        return self._keys

    async def _again(self, old: KeySet) -> KeySet:
        async with self._lock:
            if self._keys is not old and self._keys is not None:
                return self._keys  # Somebody else asked meanwhile.
            try:
                await self._load()
            except KeysUnavailable as error:
                log.warning("keys_not_refreshed", error=str(error))
                self._fetched_at = asyncio.get_running_loop().time()
            return self._keys or old

    async def _load(self) -> None:
        self._keys = await self._fetch()
        self._fetched_at = asyncio.get_running_loop().time()


def _kid(payload: bytes) -> str | None:
    try:
        kid = jws.extract_compact(payload).headers().get("kid")
    except (JoseError, ValueError):
        return None
    return kid if isinstance(kid, str) else None
