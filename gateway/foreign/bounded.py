"""Answers no longer than a limit, whatever the other side sends."""

from collections.abc import AsyncIterator
from typing import cast

import httpx

# A vehicle log with its texts; a status has a few KiB.
MAX_ANSWER_BYTES = 1024 * 1024


class AnswerRefused(httpx.RemoteProtocolError):
    """The answer is too long, or compressed though it was asked not to be."""


class Bounded(httpx.AsyncBaseTransport):
    """``inner``, with an end to each answer; tokens' as well, which is why it sits here."""

    def __init__(self, inner: httpx.AsyncBaseTransport, most_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._inner = inner
        self._most = most_bytes

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer's head, and a body that AnswerRefused ends at the limit."""
        response = await self._inner.handle_async_request(request)
        stream = cast("httpx.AsyncByteStream", response.stream)
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            # A few bytes of it may unpack to any number.
            await stream.aclose()
            raise AnswerRefused("the answer is compressed", request=request)
        response.stream = _Stream(stream, self._most, request)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Stream(httpx.AsyncByteStream):
    def __init__(self, inner: httpx.AsyncByteStream, most: int, request: httpx.Request) -> None:
        self._inner = inner
        self._most = most
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        taken = 0
        async for chunk in self._inner:
            taken += len(chunk)
            if taken > self._most:
                raise AnswerRefused(f"longer than {self._most} bytes", request=self._request)
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()
