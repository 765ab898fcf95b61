"""The queue between a connection and its consumer."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

from core.bus.port import Message


class Inbox(AsyncIterator[Message]):
    """Received messages in order; waiting for the next one can be cancelled without losing any.

    ``on_room`` is called after a message was taken, so a connection that stopped reading can go on.
    """

    def __init__(self, on_room: Callable[[], None]) -> None:
        self._queue: deque[Message] = deque()
        self._on_room = on_room
        self._news = asyncio.Event()
        self._closed = False
        self._error: BaseException | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, message: Message) -> None:
        self._queue.append(message)
        self._news.set()

    def forget_acknowledgeable(self) -> None:
        """Drop what an earlier connection left and the broker is about to send again."""
        self._queue = deque(message for message in self._queue if message.token is None)

    def close(self, error: BaseException | None = None) -> None:
        """End every iteration: quietly, or with ``error``."""
        self._closed = True
        self._error = error
        self._queue.clear()
        self._news.set()

    def __aiter__(self) -> "Inbox":
        return self

    async def __anext__(self) -> Message:
        while not self._queue:
            if self._error is not None:
                raise self._error
            if self._closed:
                raise StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        message = self._queue.popleft()
        self._on_room()
        return message
