"""One foreign IoT API over HTTP: each call ends in a reply, or in being down; nothing is raised."""

import asyncio
import time
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx

import core.log
from core.clock import Clock
from core.contracts.iot_api import REQUEST_ID_HEADER, ConfigureRequest
from gateway.foreign import metrics
from gateway.foreign.apis import ForeignApi
from gateway.foreign.auth import TokenRefused, auth_of, tls_of
from gateway.foreign.body import read_body
from gateway.foreign.bounded import Bounded
from gateway.foreign.breaker import Breaker, BreakerState
from gateway.foreign.outcome import Down, Outcome, Reply

log = core.log.get(__name__)

_SERVER_ERROR = 500
_UNAUTHORIZED = 401
_GAUGE = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class ForeignClient:
    """Calls of one API, with its time limit, its breaker and its metrics."""

    def __init__(
        self,
        api: ForeignApi,
        clock: Clock,
        breaker: Breaker,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.api = api
        self._clock = clock
        self._breaker = breaker
        self._http = httpx.AsyncClient(
            timeout=api.timeout_s,
            auth=auth_of(api, clock),
            # What is signed or authorised goes where the file says, and nowhere else.
            follow_redirects=False,
            trust_env=False,
            headers={"Accept-Encoding": "identity"},
            transport=Bounded(transport or _over_network(api)),
        )
        self._base = str(api.base_url).rstrip("/")
        self._show_breaker()

    async def close(self) -> None:
        await self._http.aclose()

    async def configure(self, vin: str, request_id: UUID, body: ConfigureRequest) -> Outcome:
        """Order a configuration; ``request_id`` again repeats the first answer (DOMAIN 9)."""
        content = body.model_dump(mode="json", by_alias=True, exclude_none=True)
        path = self.api.paths.configure.format(vin=vin)
        return await self._call("configure", "POST", path, content, request_id)

    async def display(self, vin: str, request_id: UUID, text: str, level: str) -> Outcome | None:
        """Show a text; None where the API has no such call (DOMAIN 9 knows none)."""
        if self.api.paths.display is None:
            return None
        content = {"vin": vin, "text": text, "level": level}
        path = self.api.paths.display.format(vin=vin)
        return await self._call("display", "POST", path, content, request_id)

    async def command(self, vin: str, command_id: UUID) -> Outcome:
        """How a command stands."""
        path = self.api.paths.command.format(vin=vin, command_id=command_id)
        return await self._call("command", "GET", path)

    async def status(self, vin: str) -> Outcome:
        return await self._call("status", "GET", self.api.paths.status.format(vin=vin))

    async def health(self, vin: str) -> Outcome:
        return await self._call("health", "GET", self.api.paths.health.format(vin=vin))

    async def diagnostics(self, vin: str) -> Outcome:
        return await self._call("diagnostics", "GET", self.api.paths.diagnostics.format(vin=vin))

    async def _call(
        self, call: str, method: str, path: str, content: Any = None, request_id: UUID | None = None
    ) -> Outcome:
        now = self._clock.now()
        retry_at = self._breaker.retry_at(now)
        if retry_at is not None:
            metrics.CALLS.labels(self.api.name, call, "breaker_open").inc()
            return Down("the breaker is open", retry_at)
        headers = {} if request_id is None else {REQUEST_ID_HEADER: str(request_id)}
        url = f"{self._base}/{path.lstrip('/')}"
        started = time.perf_counter()
        try:
            # httpx limits each read by itself: an answer that trickles would never end.
            async with asyncio.timeout(self.api.timeout_s):
                answer = await self._http.request(method, url, json=content, headers=headers)
            outcome: Outcome = Reply(
                answer.status_code, read_body(answer.content), answer.headers.get("Retry-After")
            )
        except TokenRefused as refused:
            outcome = Reply(_UNAUTHORIZED, {"error": {"code": "NO_TOKEN", "message": str(refused)}})
        except TimeoutError:
            outcome = Down(f"Timeout: no whole answer in {self.api.timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            outcome = Down(f"{type(error).__name__}: {error}"[:200])
        self._record(call, outcome, now, time.perf_counter() - started)
        return outcome

    def _record(self, call: str, outcome: Outcome, begun: datetime, seconds: float) -> None:
        said = str(outcome.status) if isinstance(outcome, Reply) else outcome.why.split(":")[0]
        metrics.CALLS.labels(self.api.name, call, said).inc()
        metrics.CALL_SECONDS.labels(self.api.name, call).observe(seconds)
        if isinstance(outcome, Down) or outcome.status >= _SERVER_ERROR:
            self._breaker.failed(begun, self._clock.now())
            log.warning("foreign API call", api=self.api.name, call=call, outcome=said)
        else:
            self._breaker.succeeded(begun)
        self._show_breaker()

    def _show_breaker(self) -> None:
        metrics.BREAKER.labels(self.api.name).set(_GAUGE[self._breaker.state(self._clock.now())])


def _over_network(api: ForeignApi) -> httpx.AsyncHTTPTransport:
    limits = httpx.Limits(max_connections=api.concurrency + 4)
    return httpx.AsyncHTTPTransport(verify=tls_of(api), limits=limits, trust_env=False)
