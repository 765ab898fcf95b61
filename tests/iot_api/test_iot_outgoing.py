"""What is sent to clients' URLs: one client's URL is never another's trouble."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from core.errors import Invalid
from gateway.iot_api import clients
from gateway.iot_api.outgoing import Outcome, open_client, post
from gateway.iot_api.pusher import Due, judge
from tests.broker_fixtures import RunningBroker
from tests.gateway.conftest import eventually
from tests.iot_api.test_iot_callbacks import received as told
from tests.iot_api.test_iot_telemetry import got, queued, send
from tests.iot_api.world import running
from tests.partner_sims.harness import receiving

WAITS_S = (10.0, 30.0)
TAKEN, BUSY, BAD = Outcome(True, "200", 200), Outcome(False, "503", 503), Outcome(False, "400", 400)
# httpx names neither's trouble.
ODD_URLS = (
    "https://xn--/",
    "https://a..b/",
    "https://exa mple/",
    "https://[::1/",
    "https://x:99999/",
)


@contextlib.asynccontextmanager
async def trickling(head: bytes) -> AsyncGenerator[tuple[str, list[float]]]:
    """Says ``head``, then a byte now and then, for ever; its URL, and when it was called."""
    calls: list[float] = []
    hung: set[asyncio.Task[None]] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        hung.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            calls.append(time.monotonic())
            writer.write(head)
            while not reader.at_eof():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", calls
    finally:
        server.close()
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)


async def once(url: str, timeout_s: float) -> Outcome:
    async with open_client(timeout_s) as client:
        now = datetime.now(UTC)
        return await post(client, url, "s", message_id="m", body="{}", now=now, timeout_s=timeout_s)


async def test_a_post_ends_in_time_whatever_comes_back() -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
    async with trickling(endless) as (url, _), asyncio.timeout(10):
        assert (await once(url, 2.0)).taken  # the status is there; what follows nobody needs
    async with trickling(b"HTTP/1.1 200 OK\r\nX-Endless: ") as (url, _), asyncio.timeout(10):
        sent = await once(url, 0.5)
        assert (sent.taken, sent.answer) == (False, "no answer within 0.5 s")


@pytest.mark.parametrize("url", ODD_URLS)
async def test_whatever_a_url_does_is_an_outcome(url: str) -> None:
    assert not (await once(url, 5.0)).taken


@pytest.mark.parametrize("url", ODD_URLS[:1] + ODD_URLS[3:])
def test_a_url_nothing_can_be_sent_to_is_refused(url: str) -> None:
    with pytest.raises(Invalid):
        clients.check_url(url, allow_http=False)


def due(push_id: int, attempts: int = 0) -> Due:
    return Due(push_id, "VIN", 1, push_id, "{}", attempts, "https://a.example/", "s")


def test_a_message_that_is_refused_is_tried_a_few_times_then_dropped() -> None:
    verdict = judge(
        [(due(1), TAKEN), (due(2), BUSY), (due(3, 1), BUSY), (due(4, 2), BUSY)], WAITS_S
    )
    assert (verdict.taken, verdict.again) == ([1], {2: 10.0, 3: 30.0})
    assert (verdict.refused, verdict.waiting) == ([4], [])


def test_a_client_that_is_away_loses_nothing() -> None:
    verdict = judge([(due(1, 9), BUSY), (due(2), Outcome(False, "ConnectError"))], WAITS_S)
    assert (verdict.waiting, verdict.refused, verdict.again) == ([1, 2], [], {})


@pytest.mark.parametrize("status", [400, 404, 408, 422, 429])
def test_what_a_client_refuses_for_good_is_not_sent_again(status: int) -> None:
    verdict = judge([(due(1), Outcome(False, str(status), status))], WAITS_S)
    passing = status in (408, 429)
    assert (verdict.refused, verdict.waiting) == (([], [1]) if passing else ([1], []))


async def test_a_client_that_hangs_holds_up_nobody_nor_the_end(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Longer than every deadline here.
    monkeypatch.setenv("CAAS_IOT_API_CALLBACK_TIMEOUT_S", "300")
    async with contextlib.AsyncExitStack() as stack:
        url, calls = await stack.enter_async_context(trickling(b"HTTP/1.1 200 OK\r\nX: "))
        good, told_to = stack.enter_context(receiving()), stack.enter_context(receiving())
        world = await stack.enter_async_context(
            running(database, mosquitto_broker, tmp_path, monkeypatch)
        )
        bad = await world.client("bad", telemetry_url=url, callback_url=url)
        headers = await world.client("good", telemetry_url=good.url, callback_url=told_to.url)
        accepted = (await world.configure(bad, "b")).json()
        await world.ended(bad, accepted["commandId"])

        async def hanging() -> bool:
            await send(world, 1000)
            return len(calls) >= 2

        await eventually(hanging, "callback and telemetry of the bad client hang")
        for n in range(30):
            await send(world, n)
        accepted = (await world.configure(headers, "g", service="ADVANCED_CLIMATE")).json()
        await world.ended(headers, accepted["commandId"])
        await eventually(lambda: got(good, set(range(30))), "the other's telemetry came")
        await eventually(lambda: told(told_to, 1), "the other's callback came")
        # Leaving stops the gateway, and fails where it does not end in time.


async def test_a_message_a_client_refuses_does_not_hold_up_the_rest(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with running(
        database,
        mosquitto_broker,
        tmp_path,
        monkeypatch,
        CAAS_IOT_API_CALLBACK_WAITS_S="[3600]",
    ) as world:
        with receiving() as client:
            await world.client(telemetry_url=client.url)

            async def begun() -> bool:
                await send(world, 1000)
                return bool(client.received)

            await eventually(begun, "telemetry flows")
            client.status = 400
            await send(world, 0)

            async def refused() -> bool:
                return any(item.body["n"] == 0 for item in client.received)

            await eventually(refused, "it was refused")
            client.status = 200
            await send(world, 1)
            await eventually(lambda: got(client, {1}), "the next one came")

            async def nothing_left() -> bool:
                return await queued(world) == []

            await eventually(nothing_left, "the refused one is dropped")
            assert sum(item.body["n"] == 0 for item in client.received) == 1
