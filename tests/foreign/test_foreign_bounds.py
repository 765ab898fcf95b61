"""A foreign API that trickles or floods: a call ends in time and takes no more than its share."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from core.clock import SystemClock
from gateway.foreign.apis import ForeignApi
from gateway.foreign.bounded import MAX_ANSWER_BYTES
from gateway.foreign.breaker import Breaker
from gateway.foreign.client import ForeignClient
from gateway.foreign.outcome import Down, Reply
from tests.foreign.world import VIN

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@contextlib.asynccontextmanager
async def calling(
    folder: Path, head: bytes, chunk: bytes, *, every_s: float = 0.0, timeout_s: float = 20.0
) -> AsyncGenerator[tuple[ForeignClient, list[bytes]]]:
    """A client of an API that answers with ``chunk`` for ever; and the requests it was sent."""
    requests: list[bytes] = []

    ended: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        end = asyncio.Event()
        ended.append(end)
        with contextlib.suppress(ConnectionError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(head + b"\r\n")
            while not writer.is_closing():
                writer.write(chunk)
                await writer.drain()
                await asyncio.sleep(every_s)
        writer.close()
        end.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    (folder / "s").write_text("x")
    auth = {"kind": "hmac", "key_id": "k", "secret_file": str(folder / "s")}
    api = ForeignApi.model_validate(
        {
            "name": "x",
            "base_url": f"http://127.0.0.1:{port}",
            "auth": auth,
            "timeout_s": timeout_s,
        }
    )
    client = ForeignClient(api, SystemClock(), Breaker(failures=5, window_s=60, open_s=60))
    try:
        yield client, requests
    finally:
        await client.close()
        server.close()
        for end in ended:
            await end.wait()


async def test_an_answer_that_trickles_is_given_up_in_time(tmp_path: Path) -> None:
    head = HEAD + b"Transfer-Encoding: chunked\r\n"
    # Every read gets a byte well within the limit.
    async with calling(tmp_path, head, b"1\r\n \r\n", every_s=0.05, timeout_s=0.5) as (client, _):
        async with asyncio.timeout(15):
            outcome = await client.status(VIN)
    assert outcome == Down("Timeout: no whole answer in 0.5 s")


async def test_an_answer_without_end_is_given_up_at_the_limit(tmp_path: Path) -> None:
    async with calling(tmp_path, HEAD, b" " * 65_536) as (client, requests):
        outcome = await client.status(VIN)
        assert outcome == Down(f"AnswerRefused: longer than {MAX_ANSWER_BYTES} bytes")
        assert b"accept-encoding: identity\r\n" in requests[0].lower()


async def test_a_compressed_answer_is_not_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b" " * 10_000_000)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n" % len(packed)
    async with calling(tmp_path, head, packed) as (client, _):
        assert await client.status(VIN) == Down("AnswerRefused: the answer is compressed")


@pytest.mark.parametrize("size", [0, 100_000])
async def test_what_is_within_the_limit_arrives(tmp_path: Path, size: int) -> None:
    body = b'{"a": "' + b"x" * size + b'"}'
    head = HEAD + b"Connection: close\r\nContent-Length: %d\r\n" % len(body)
    async with calling(tmp_path, head, body) as (client, _):
        assert await client.status(VIN) == Reply(200, {"a": "x" * size})
