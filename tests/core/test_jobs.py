"""Deferred jobs: who is tried again for how long, and what a lost database looks like."""

from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest
from procrastinate.jobs import Job as QueuedJob

from core.contracts.jobs import Job
from core.db import Database
from core.errors import Conflict, Invalid, Unavailable
from core.jobs import JOBS, Backoff, defer
from core.settings import DatabaseSettings

AWAY = Unavailable("GATEWAY_DOWN", "the payment gateway does not answer")
OWN_FAULT = Conflict("GATEWAY_STATE", "the gateway has another state")


class Refund(Job, frozen=True):
    queue: ClassVar[str] = "test"
    name: ClassVar[str] = "refund"

    note: str = ""


def database_of(dsn: str) -> Database:
    settings = DatabaseSettings.model_validate({"dsn": dsn, "set_role": True, "pool_max": 2})
    return Database(settings, role="caas_api", service="test")


def tried(times: int) -> QueuedJob:
    return QueuedJob(
        id=1, status="doing", queue="test", lock=None, queueing_lock=None,
        task_name=Refund.task_name(), attempts=times,
    )  # fmt: skip


def decide(error: Exception, times: int) -> timedelta | None:
    """How long until the job comes again; None where it is given up."""
    start = datetime.now(UTC)
    decision = Backoff(max_attempts=3).get_retry_decision(exception=error, job=tried(times))
    if decision is None:
        return None
    assert decision.retry_at is not None
    return decision.retry_at - start


@pytest.mark.parametrize("times", [0, 3, 25, 100_000])
def test_a_part_that_is_away_is_waited_for_however_long(times: int) -> None:
    wait = decide(AWAY, times)
    assert wait is not None
    assert timedelta(seconds=0.5) <= wait < timedelta(minutes=2)


def test_a_job_that_fails_by_itself_is_given_up_and_counted() -> None:
    counted = JOBS.labels(Refund.task_name(), "given_up")
    before = counted._value.get()
    assert decide(OWN_FAULT, 2) is not None
    assert decide(OWN_FAULT, 3) is None
    assert counted._value.get() == before + 1


async def lose_connection_and_defer(opened: Database) -> None:
    async with opened.transaction() as conn:
        await conn.raw.close()
        await defer(conn, Refund())


async def test_a_database_that_goes_away_while_deferring_is_unavailable(database: str) -> None:
    opened = database_of(database)
    await opened.open()
    try:
        with pytest.raises(Unavailable):
            await lose_connection_and_defer(opened)
    finally:
        await opened.close()


async def test_content_no_database_can_hold_is_invalid(database: str) -> None:
    opened = database_of(database)
    await opened.open()
    try:
        with pytest.raises(Invalid):
            async with opened.transaction() as conn:
                await defer(conn, Refund(note="a\0b"))
        with pytest.raises(Invalid):
            async with opened.transaction() as conn:
                await conn.value("SELECT %(text)s::text", {"text": "a\0b"})
    finally:
        await opened.close()
