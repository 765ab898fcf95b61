"""Request id, access log line and request metrics around every request (DOMAIN 19)."""

import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import structlog
from fastapi import Request
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException

import core.log
from core.ids import new_id
from core.web.answers import error_answer

log = core.log.get(__name__)

# A caller can write any word there: each would be a time series of its own, for good.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_METHOD_LOGGED = 20
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class RequestMetrics:
    """The request metrics of a service: ``caas_{service}_requests`` and their duration."""

    def __init__(self, service: str) -> None:
        self.requests = Counter(
            f"caas_{service}_requests", "HTTP requests", ["route", "method", "status"]
        )
        self.seconds = Histogram(
            f"caas_{service}_request_duration_seconds", "Time of a request", ["route", "method"]
        )


class RequestContext:
    """Gives a request its id, and tells log and metrics how it ended; no error leaves it.

    ``prefix``: of the routes that say their template without it.
    """

    def __init__(self, app: App, *, metrics: RequestMetrics, prefix: str = "") -> None:
        self._app = app
        self._prefix = prefix
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", []),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(requestId=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                log.exception("request failed")
                if status != 0:  # The answer has begun: it can only be broken off.
                    raise
                answer = error_answer(Request(scope), 500, "INTERNAL", "something went wrong here")
                await answer(scope, receive, send_with_id)
            finally:
                self._record(scope, status or 500, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = self._template(scope)
        given = str(scope["method"])
        method = given if given in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.seconds.labels(route, method).observe(seconds)
        if route in ("/healthz", "/metrics"):
            return
        log.info(
            "request",
            endpoint=route,
            method=given[:_METHOD_LOGGED],
            userId=scope["state"].get("user_id"),
            duration=round(seconds, 4),
            statusCode=status,
        )

    def _template(self, scope: Scope) -> str:
        """The route's template, not its path: paths hold identifiers."""
        path = getattr(scope.get("route"), "path", None)
        if path is None:
            return "unmatched"
        if scope["path"].startswith(self._prefix) and not path.startswith(self._prefix):
            return f"{self._prefix}{path}"
        return str(path)


class BodyLimit:
    """Refuses bodies longer than ``max_bytes``, announced or not, before they fill the memory."""

    def __init__(self, app: App, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if max(seen, _announced(scope)) > self._max_bytes:
                raise HTTPException(413, f"a body has {self._max_bytes} bytes at most")
            return message

        await self._app(scope, counted if scope["type"] == "http" else receive, send)


def _announced(scope: Scope) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            given = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(given):
                return str(given)
    return str(new_id())
