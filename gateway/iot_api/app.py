"""The IoT API as an application of its own, with its own document and errors (DOMAIN 9)."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from core.errors import TooMany
from core.web.answers import add_error_handlers, error_answer
from core.web.middleware import BodyLimit, RequestContext, RequestMetrics
from gateway.iot_api.auth import Failures, schemes
from gateway.iot_api.routes import IotApi, router
from gateway.iot_api.settings import IotApiSettings
from gateway.parts import Gateway

PREFIX = "/iot/v1"
METRICS = RequestMetrics("iot")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Deadline:
    """Answers 503 where a request takes longer than ``seconds``; a late commit is idempotent."""

    def __init__(self, app: App, *, seconds: float) -> None:
        self._app = app
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            async with asyncio.timeout(self._seconds if scope["type"] == "http" else None):
                await self._app(scope, receive, watched)
        except TimeoutError:
            if begun:
                raise
            answer = error_answer(
                Request(scope), 503, "TIMEOUT", "this took too long; send it again with its id"
            )
            await answer(scope, receive, send)


def create_iot_app(gateway: Gateway, settings: IotApiSettings) -> FastAPI:
    """The application, to be mounted at ``PREFIX``."""
    app = _routes()
    app.state.iot = IotApi(
        gateway, settings, schemes(settings), Failures(settings.failures_per_minute)
    )
    add_error_handlers(app)
    app.add_exception_handler(TooMany, _too_many)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_middleware(Deadline, seconds=settings.answer_s)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestContext, metrics=METRICS, prefix=PREFIX)
    return app


def openapi_document() -> dict[str, Any]:
    """The API's OpenAPI document, as it is served at ``PREFIX/openapi.json``."""
    return _routes().openapi()


def _routes() -> FastAPI:
    app = FastAPI(
        title="CaaS IoT API",
        version="1",
        summary="Configure vehicles, and read how they are.",
        servers=[{"url": PREFIX}],
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(router)
    return app


async def _too_many(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TooMany)
    body = {
        "code": error.code,
        "message": error.message,
        "retryAfterSeconds": error.retry_after_s,
        "requestId": getattr(request.state, "request_id", None),
    }
    return JSONResponse(
        {"error": body}, status_code=429, headers={"Retry-After": str(error.retry_after_s)}
    )


async def _malformed(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = cast("list[dict[str, Any]]", list(error.errors()))
    fields = [
        {"field": ".".join(str(part) for part in item["loc"][1:]), "problem": item["msg"]}
        for item in problems
    ]
    return error_answer(
        request, 400, "MALFORMED", "the request is malformed", details={"fields": fields}
    )
