"""One HTTP client for all partner adapters: every call has a timeout and a bounded retry."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import structlog
from prometheus_client import Counter, Histogram
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

import core.log
from core.errors import Unavailable

log = core.log.get(__name__)

REQUESTS = Counter(
    "caas_integration_request_count", "Calls to a partner", ["integration", "operation", "status"]
)
DURATION = Histogram(
    "caas_integration_request_duration_seconds", "Time of a call", ["integration", "operation"]
)
ERRORS = Counter(
    "caas_integration_request_errors", "Calls without a usable answer", ["integration", "operation"]
)
RETRIES = Counter("caas_integration_retries", "Calls that were made again", ["integration"])

TOO_MANY = 429
SERVER_ERROR = 500


class PartnerUnavailable(Unavailable):
    """A partner gave no usable answer, retries included.

    ``timed_out``: the request may have been carried out, so ask before assuming that it was not.
    ``status``: the last HTTP status, None where no answer came.
    """

    def __init__(
        self, integration: str, message: str, *, timed_out: bool, status: int | None
    ) -> None:
        super().__init__(f"{integration.upper()}_UNAVAILABLE", message)
        self.timed_out = timed_out
        self.status = status


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """Seconds to wait before each retry, by what went wrong; empty = no retry."""

    network: tuple[float, ...] = ()
    server: tuple[float, ...] = ()

    def waits(self, error: PartnerUnavailable) -> tuple[float, ...]:
        return self.network if error.status is None else self.server


NO_RETRY = RetryPlan()


class PartnerClient:
    """An outside system's HTTP API. Answers below 500 (but 429) are the adapter's to read."""

    def __init__(
        self,
        integration: str,
        base_url: str,
        *,
        timeout_s: float,
        retry: RetryPlan = NO_RETRY,
        bearer: str | None = None,
        auth: httpx.Auth | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.integration = integration
        self._retry = retry
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/") + "/",
            timeout=timeout_s,
            headers={"Authorization": f"Bearer {bearer}"} if bearer else None,
            auth=auth,
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        json: Any = None,
        params: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        retry: RetryPlan | None = None,
        timeout_s: float | None = None,
    ) -> httpx.Response:
        """The partner's answer; PartnerUnavailable after the last retry of network, 5xx, 429."""
        plan = self._retry if retry is None else retry
        request = self._client.build_request(
            method,
            path.lstrip("/"),
            json=json,
            params=params,
            headers=_headers(idempotency_key),
            timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else timeout_s,
        )
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(PartnerUnavailable),
            wait=lambda state: _wait(plan, state) or 0.0,
            stop=lambda state: _wait(plan, state) is None,
            before_sleep=lambda _: RETRIES.labels(self.integration).inc(),
            reraise=True,
        ):
            with attempt:
                return await self._once(request, operation)
        raise AssertionError("tenacity returns or raises")

    async def _once(self, request: httpx.Request, operation: str) -> httpx.Response:
        started = time.perf_counter()
        status: int | None = None
        try:
            response = await self._client.send(request)
            status = response.status_code
            if status == TOO_MANY or status >= SERVER_ERROR:
                raise PartnerUnavailable(
                    self.integration, f"answered {status}", timed_out=False, status=status
                )
        except httpx.TransportError as error:
            raise PartnerUnavailable(
                self.integration,
                f"no answer: {type(error).__name__}",
                # Only where the connection did not stand is it sure that nothing was done.
                timed_out=not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout),
                status=None,
            ) from error
        finally:
            self._record(operation, status, time.perf_counter() - started)
        return response

    def _record(self, operation: str, status: int | None, seconds: float) -> None:
        failed = status is None or status == TOO_MANY or status >= SERVER_ERROR
        REQUESTS.labels(self.integration, operation, str(status or "none")).inc()
        DURATION.labels(self.integration, operation).observe(seconds)
        if failed:
            ERRORS.labels(self.integration, operation).inc()
        (log.warning if failed else log.info)(
            "partner call",
            integration=self.integration,
            operation=operation,
            statusCode=status,
            duration=round(seconds, 4),
        )


def _wait(plan: RetryPlan, state: RetryCallState) -> float | None:
    """Seconds before the next attempt; None where there is none."""
    error = state.outcome.exception() if state.outcome is not None else None
    waits = plan.waits(error) if isinstance(error, PartnerUnavailable) else ()
    return waits[state.attempt_number - 1] if state.attempt_number <= len(waits) else None


def _headers(idempotency_key: str | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    if idempotency_key is not None:
        headers["Idempotency-Key"] = idempotency_key
    request_id = structlog.contextvars.get_contextvars().get("requestId")
    if request_id is not None:
        headers["X-Request-ID"] = str(request_id)
    return headers
