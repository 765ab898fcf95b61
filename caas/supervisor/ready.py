"""Readiness conditions for children: async functions that say yes or no and never raise."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import httpx

Ready = Callable[[], Awaitable[bool]]


def tcp(host: str, port: int) -> Ready:
    """Ready when the port takes a connection."""

    async def check() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        return True

    return check


def http_ok(url: str, timeout_s: float = 2.0) -> Ready:
    """Ready when a GET answers with a 2xx status."""

    async def check() -> bool:
        try:
            async with httpx.AsyncClient(timeout=timeout_s, trust_env=False) as client:
                return (await client.get(url)).is_success
        except httpx.HTTPError:
            return False

    return check


def all_of(*conditions: Ready) -> Ready:
    """Ready when every condition holds, asked in order."""

    async def check() -> bool:
        for condition in conditions:
            if not await condition():
                return False
        return True

    return check
