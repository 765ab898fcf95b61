"""Applies a partner's transport faults to its calls, and counts every answer."""

from collections.abc import MutableMapping
from typing import Any

from prometheus_client import Counter
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import core.log
from partner_sims.faults.service import PARTNERS, TRANSPORT_MODES, Fault
from partner_sims.sims import Sims

log = core.log.get(__name__)

_BROKEN_JSON = '{"status": "ok", "result": {"vin": '


class FaultMiddleware:
    """Sits before every partner; control paths stay reachable whatever is broken."""

    def __init__(self, app: ASGIApp, sims: Sims, requests: Counter) -> None:
        self._app = app
        self._sims = sims
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        partner, _, rest = str(scope.get("path", "")).lstrip("/").partition("/")
        if scope["type"] != "http" or partner not in PARTNERS:
            await self._app(scope, receive, send)
            return
        send = self._counted(partner, send)
        if rest.startswith("_control") or _is_inbox(partner, scope):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        with self._sims.store.transaction():
            fault = self._sims.faults.take(partner, TRANSPORT_MODES, _text(scope, body))
        await self._apply(fault, scope, _replay(body, receive), send)

    async def _apply(self, fault: Fault | None, scope: Scope, receive: Receive, send: Send) -> None:
        if fault is not None:
            log.info("fault applied", partner=fault.partner, mode=fault.mode, path=scope["path"])
        if fault is None or fault.mode == "slow":
            await self._sims.pause(fault.delay_s if fault else 0)
            await self._app(scope, receive, send)
        elif fault.mode == "lost":
            await self._app(scope, receive, _swallow)
            await self._sims.pause(fault.delay_s)
            await PlainTextResponse("gateway timeout", 504)(scope, receive, send)
        else:
            await self._sims.pause(fault.delay_s)
            await _answer(fault.mode)(scope, receive, send)

    def _counted(self, partner: str, send: Send) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(partner, str(message["status"])).inc()
            await send(message)

        return counted


def _answer(mode: str) -> Response:
    if mode == "down":
        return PlainTextResponse("service unavailable", 503, headers={"Connection": "close"})
    if mode == "malformed":
        return Response(_BROKEN_JSON, 200, media_type="application/json")
    return PlainTextResponse("internal server error", 500)


def _is_inbox(partner: str, scope: Scope) -> bool:
    """Reading the inbox is the reader's, not the mail partner's, business: no faults there."""
    return partner == "mail" and scope["method"] != "POST"


def _text(scope: Scope, body: bytes) -> str:
    """What a fault's ``match`` is looked for in: method, path, query and body."""
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    return f"{scope['method']} {scope['path']}?{query} {body.decode('utf-8', 'replace')}"


async def _read(receive: Receive) -> bytes:
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message["type"] == "http.request" and bool(message.get("more_body", False))
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _swallow(message: Message) -> None:
    """The partner did its work; its answer never arrives."""
