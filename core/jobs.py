"""Deferred jobs: facts and the work that follows them commit together (procrastinate).

A job is a struct with a name and a queue (`core.contracts.jobs`). ``defer`` puts it on the
caller's own transaction; a ``JobWorker`` runs the handlers of one room's queue. A handler may run
twice (a crash between its commit and the job's end), so every handler is idempotent.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import procrastinate
from procrastinate.exceptions import ConnectorException, ProcrastinateException
from procrastinate.jobs import Job as QueuedJob
from prometheus_client import Counter

import core.log
from core.contracts.jobs import Job
from core.db import Connection, Database, domain_errors, is_content_error
from core.ending import cancel_until_done
from core.errors import Unavailable
from core.settings import JobSettings

log = core.log.get(__name__)

JOBS = Counter("caas_jobs_total", "Deferred jobs that ended", ["job", "outcome"])

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 60.0
_DOUBLINGS = 16  # more than enough to reach the longest wait
_UNBOUND = procrastinate.App(connector=procrastinate.PsycopgConnector())

Handler = Callable[[Any], Awaitable[None]]


async def defer(
    conn: Connection, job: Job, *, at: datetime | None = None, lock: str | None = None
) -> None:
    """Put ``job`` in its queue within the caller's transaction.

    ``at``: not before this moment. ``lock``: jobs of the same lock run one at a time, in order.
    """
    task = _UNBOUND.configure_task(
        job.task_name(),
        queue=job.queue,
        lock=lock or job.lock(),
        schedule_at=at,
        connection=conn.raw,
    )
    with domain_errors():
        try:
            await task.defer_async(payload=msgspec.to_builtins(job))
        except ConnectorException as error:
            # procrastinate's wrapper hides from the caller that the database went away.
            raise error.__cause__ or error from None


class Backoff(procrastinate.BaseRetryStrategy):
    """0.5 s, doubling to a minute. A part that is away is waited for, however long it takes.

    Anything else is tried ``max_attempts`` times; then the job stays as failed, and says so: what
    it was to do (a refund, a capture) is not done by anybody else.
    """

    def __init__(self, max_attempts: int) -> None:
        self._max_attempts = max_attempts

    def get_retry_decision(
        self, *, exception: BaseException, job: QueuedJob
    ) -> procrastinate.RetryDecision | None:
        away = isinstance(exception, Unavailable) and not is_content_error(exception)
        if job.attempts >= self._max_attempts and not away:
            JOBS.labels(job.task_name, "given_up").inc()
            log.error("job given up", job=job.task_name, job_id=job.id, error=str(exception))
            return None
        wait = min(_FIRST_WAIT_S * 2 ** min(job.attempts, _DOUBLINGS), _LONGEST_WAIT_S)
        return procrastinate.RetryDecision(
            retry_in={"milliseconds": int(wait * 1000)},
        )


class JobWorker:
    """Runs the jobs of one queue until stopped, and takes up what a dead worker left."""

    def __init__(
        self,
        database: Database,
        queue: str,
        handlers: Mapping[type[Job], Handler],
        settings: JobSettings,
    ) -> None:
        self._settings = settings
        self._queue = queue
        self._database = database
        self._app = procrastinate.App(connector=procrastinate.PsycopgConnector())
        for kind, handler in handlers.items():
            if kind.queue != queue:
                raise ValueError(f"{kind.__name__} is for queue {kind.queue}, not {queue}")
            self._register(kind, handler)

    def _register(self, kind: type[Job], handler: Handler) -> None:
        name = kind.task_name()

        async def run(payload: dict[str, Any]) -> None:
            try:
                await handler(msgspec.convert(payload, kind))
            except Exception as error:
                JOBS.labels(name, "error").inc()
                log.warning("job failed", job=name, error=str(error), exc_info=True)
                raise
            JOBS.labels(name, "done").inc()

        self._app.task(name=name, queue=self._queue, retry=Backoff(self._settings.max_attempts))(
            run
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; a lost database is waited for, not died of."""
        await self._app.open_async(self._database.pool)
        try:
            async with asyncio.TaskGroup() as group:
                worker = group.create_task(self._work(stop))
                sweeper = group.create_task(self._sweep())
                await stop.wait()
                # The first cancellation lets the running jobs end; a second would cut them off.
                await cancel_until_done((sweeper, worker), again_s=self._settings.drain_s + 1)
        finally:
            await self._app.close_async()

    async def _work(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._app.run_worker_async(
                    queues=[self._queue],
                    name=self._queue,
                    concurrency=self._settings.concurrency,
                    fetch_job_polling_interval=self._settings.poll_s,
                    update_heartbeat_interval=self._settings.heartbeat_s,
                    stalled_worker_timeout=self._settings.stalled_s,
                    shutdown_graceful_timeout=self._settings.drain_s,
                    install_signal_handlers=False,
                    delete_jobs="successful",
                )
            except Exception as error:
                log.warning("job worker interrupted", queue=self._queue, error=str(error))
            await asyncio.sleep(self._settings.poll_s)

    async def _sweep(self) -> None:
        """Give the jobs of a killed worker to a living one."""
        while True:
            with contextlib.suppress(ProcrastinateException):
                for job in await self._app.job_manager.get_stalled_jobs(
                    queue=self._queue, seconds_since_heartbeat=self._settings.stalled_s
                ):
                    log.info("taking up a stalled job", job=job.task_name, queue=self._queue)
                    await self._app.job_manager.retry_job(job, retry_at=datetime.now(UTC))
            await asyncio.sleep(self._settings.heartbeat_s)
