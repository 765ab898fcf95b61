"""Errors as HTTP answers of one shape (DOMAIN 16)."""

import json
from collections.abc import Mapping
from typing import Any, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import core.log
from core.errors import DomainError, TooMany
from core.web.status import status_of

log = core.log.get(__name__)

_HTTP_CODES = {400: "MALFORMED_JSON", 404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "TOO_LARGE"}
_JSON_INVALID = "json_invalid"


def error_answer(
    request: Request,
    status: int,
    code: str,
    message: str,
    *,
    details: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """An error of the one shape."""
    body = {
        "code": code,
        "message": message,
        # Details may hold UUIDs, dates or amounts.
        "details": json.loads(json.dumps(dict(details or {}), default=str)),
        "requestId": getattr(request.state, "request_id", None),
    }
    return JSONResponse({"error": body}, status_code=status, headers=dict(headers or {}))


def add_error_handlers(app: FastAPI) -> None:
    """Map the domain's errors, and FastAPI's own, to answers."""
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


async def _domain_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DomainError)
    status = status_of(error)
    if status >= 500:
        log.warning("request refused", code=error.code, error=error.message)
    if status == 500:
        return error_answer(request, 500, "INTERNAL", "something went wrong here")
    message = "a part this needs does not answer; try again" if status == 503 else error.message
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooMany) else None
    if status == 401:
        headers = {"WWW-Authenticate": "Bearer"}
    return error_answer(
        request, status, error.code, message, details=error.details, headers=headers
    )


async def _validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = cast("list[dict[str, Any]]", list(error.errors()))
    if any(problem["type"] == _JSON_INVALID for problem in problems):
        return error_answer(request, 400, "MALFORMED_JSON", "the body is not JSON")
    # What was sent is left out: it may hold a password.
    fields = [
        {"field": ".".join(str(part) for part in problem["loc"][1:]), "problem": problem["msg"]}
        for problem in problems
    ]
    return error_answer(
        request, 422, "INVALID_REQUEST", "the request is not valid", details={"fields": fields}
    )


async def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "HTTP_ERROR")
    return error_answer(request, error.status_code, code, str(error.detail), headers=error.headers)
