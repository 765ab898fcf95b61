"""Tasks that do not take a cancellation for an answer."""

import asyncio

from structlog.testing import capture_logs

from core.ending import cancel_until_done, end_leftovers

AGAIN_S = 0.01


async def deaf(times: int, heard: asyncio.Event) -> None:
    """Swallows that many cancellations, as psycopg's pool workers and wait_for do."""
    for _ in range(times):
        heard.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue
    await asyncio.Event().wait()


async def started(times: int) -> asyncio.Task[None]:
    heard = asyncio.Event()
    task = asyncio.create_task(deaf(times, heard), name=f"deaf to {times}")
    await heard.wait()
    return task


async def test_a_cancellation_that_was_swallowed_is_given_again() -> None:
    tasks = [await started(times) for times in (1, 3)]
    assert await cancel_until_done(tasks, again_s=AGAIN_S) == set()
    assert all(task.cancelled() for task in tasks)


async def test_what_never_ends_is_named_and_shown() -> None:
    task = await started(50)
    with capture_logs() as logs:
        assert not await end_leftovers(again_s=AGAIN_S)
    assert [line["task"] for line in logs] == ["deaf to 50"]
    assert "in deaf" in logs[0]["stack"]
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert await end_leftovers()


async def test_what_a_task_raises_is_its_own() -> None:
    async def fails() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("its own")

    task = asyncio.create_task(fails())
    await asyncio.sleep(0)
    assert await cancel_until_done([task], again_s=AGAIN_S) == set()
    assert isinstance(task.exception(), ValueError)
