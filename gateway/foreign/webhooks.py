"""What foreign APIs send us: signed callbacks about commands, and telemetry (DOMAIN 9 and 17)."""

import asyncio
import hashlib
import hmac
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar
from uuid import UUID

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from psycopg.types.json import Jsonb
from pydantic import BaseModel, ValidationError

import core.log
from core.bus import BusUnavailable, PublishFailed
from core.bus.start import BusHolder
from core.contracts.bus import TelemetryBatch, Unusable, decode, encode
from core.contracts.iot_api import (
    CALLBACK_PATH,
    MESSAGE_ID_HEADER,
    SIGNATURE_HEADER,
    TELEMETRY_PATH,
    TIMESTAMP_HEADER,
    OtaStatus,
    TelemetryPush,
)
from core.contracts.topics import MAX_PAYLOAD_BYTES, Topic, topic_of
from core.errors import DomainError, Invalid, NotFound, TooMany, Unauthenticated
from core.web.answers import error_answer
from core.web.status import status_of
from gateway.foreign import metrics
from gateway.foreign.apis import ForeignApi, api_of
from gateway.foreign.repository import QUERIES
from gateway.foreign.settings import ForeignSettings
from gateway.parts import Gateway

log = core.log.get(__name__)

M = TypeVar("M", bound=BaseModel)
Take = Callable[[Request], Awaitable[str]]

_ID_MAX = 200
_PUBLISH_S = 8.0


@dataclass(frozen=True, slots=True)
class _Delivery:
    """A body whose signature, age and id are in order, and whose it is."""

    api: ForeignApi
    message_id: str
    raw: bytes


class Webhooks:
    """Takes what APIs send. ``secrets``: API name → the secret shared with it."""

    def __init__(
        self,
        gateway: Gateway,
        settings: ForeignSettings,
        apis: Sequence[ForeignApi],
        secrets: Mapping[str, str],
        bus: BusHolder,
        wake: Callable[[], None],
    ) -> None:
        self._gateway = gateway
        self._settings = settings
        self._apis = list(apis)
        self._secrets = secrets
        self._bus = bus
        self._wake = wake
        self._recent: dict[tuple[str, str], deque[datetime]] = {}
        self._bus_lock = asyncio.Semaphore(100)

    def router(self) -> APIRouter:
        """The two routes."""
        router = APIRouter()
        router.add_api_route(CALLBACK_PATH, self._status, methods=["POST"])
        router.add_api_route(TELEMETRY_PATH, self._telemetry, methods=["POST"])
        return router

    async def _status(self, request: Request) -> JSONResponse:
        return await self._answer("status", request, self.take_status)

    async def _telemetry(self, request: Request) -> JSONResponse:
        return await self._answer("telemetry", request, self.take_telemetry)

    async def _answer(self, kind: str, request: Request, take: Take) -> JSONResponse:
        try:
            outcome = await take(request)
        except DomainError as error:
            metrics.CALLBACKS.labels(kind, error.code).inc()
            log.warning("webhook refused", kind=kind, code=error.code, error=error.message)
            status = 400 if error.code == "MALFORMED" else status_of(error)
            headers = (
                {"Retry-After": str(error.retry_after_s)} if isinstance(error, TooMany) else {}
            )
            return error_answer(request, status, error.code, error.message, headers=headers)
        metrics.CALLBACKS.labels(kind, outcome).inc()
        return JSONResponse({"received": True})

    async def take_status(self, request: Request) -> str:
        """Note how a command ended; answered once that is committed."""
        delivery = await self._check(request, OtaStatus, self._settings.callbacks_per_min)
        body = _parse(OtaStatus, delivery.raw)
        now = self._gateway.clock.now()
        async with self._gateway.database.transaction() as conn:
            new = await conn.execute(
                QUERIES["take_callback"],
                {
                    "source": delivery.api.name,
                    "message_id": delivery.message_id,
                    "body": Jsonb(body.model_dump(mode="json", by_alias=True)),
                    "now": now,
                },
            )
            if not new:
                return "duplicate"
            known = await conn.execute(
                QUERIES["outcome_by_callback"],
                {
                    "vin": body.vin,
                    "command_id": _uuid(body.request_id),
                    "foreign_id": body.command_id,
                    "state": "COMPLETED" if body.status == "ACTIVATED" else "FAILED",
                    "error_code": body.error_code,
                    "now": now,
                },
            )
            if known:
                await conn.execute(QUERIES["wake"], {"vin": body.vin, "now": now})
        self._wake()
        return "taken" if known else "nothing_open"

    async def take_telemetry(self, request: Request) -> str:
        """Put a pushed batch on the bus; answered once the broker confirmed it.

        From then on it is as safe as a vehicle's own message that the broker confirmed, and no
        safer: a sender that must not lose anything sends again what it is unsure of, since
        (vin, boot, n) is stored once.
        """
        delivery = await self._check(request, TelemetryPush, self._settings.telemetry_per_min)
        if delivery.api.telemetry != "push":
            raise NotFound("NO_TELEMETRY", f"{delivery.api.name} is not set up to push telemetry")
        push = _parse(TelemetryPush, delivery.raw)
        try:
            batch = decode(
                TelemetryBatch,
                msgspec.json.encode({"boot": push.boot, "n": push.n, "samples": push.samples}),
            )
        except Unusable as error:
            raise Invalid("MALFORMED", error.message) from None
        await self._check_enrolled(push.vin)
        bus = self._bus.bus
        if bus is None or not bus.connected:
            raise BusUnavailable("no connection to the broker")
        topic = topic_of(self._gateway.bus_settings.prefix, push.vin, Topic.TELEMETRY)
        try:
            async with self._bus_lock:
                await bus.publish(topic, encode(batch), timeout_s=_PUBLISH_S)
        except PublishFailed as error:
            raise BusUnavailable(error.message) from None
        return "published"

    async def _check_enrolled(self, vin: str) -> None:
        async with self._gateway.database.transaction() as conn:
            if not await conn.dicts(QUERIES["foreign_vins"], {"vins": [vin]}):
                raise NotFound("UNKNOWN_VIN", f"{vin} is not reached through an IoT API here")

    async def _check(
        self, request: Request, kind: type[OtaStatus] | type[TelemetryPush], per_min: int
    ) -> _Delivery:
        """Signature, age, id and rate, in this order; whose secret it is, its vehicle says."""
        raw = await _read_body(request)
        api = self._sender(_vin_of(raw))
        secret = None if api is None else self._secrets.get(api.name)
        given = request.headers.get(SIGNATURE_HEADER, "")
        if api is None or secret is None or not is_signed(raw, secret, given):
            raise Unauthenticated("BAD_SIGNATURE", "the signature does not fit the body")
        now = self._gateway.clock.now()
        sent = request.headers.get(TIMESTAMP_HEADER)
        if not is_fresh(sent, now, self._settings.max_age_s):
            raise Unauthenticated("STALE_WEBHOOK", "too old, or its time cannot be read")
        message_id = request.headers.get(MESSAGE_ID_HEADER, "")
        if not 1 <= len(message_id) <= _ID_MAX:
            raise Invalid("MALFORMED", f"a delivery needs its {MESSAGE_ID_HEADER}")
        self._limit(api.name, kind.__name__, per_min, now)
        return _Delivery(api, message_id, raw)

    def _sender(self, vin: str) -> ForeignApi | None:
        name = api_of(vin, self._apis)
        return next((api for api in self._apis if api.name == name), None)

    def _limit(self, name: str, kind: str, per_min: int, now: datetime) -> None:
        """TooMany beyond ``per_min`` a minute and source, in this replica (DOMAIN 17)."""
        recent = self._recent.setdefault((name, kind), deque())
        since = now - timedelta(minutes=1)
        while recent and recent[0] <= since:
            recent.popleft()
        if len(recent) >= per_min:
            wait = max(1, round((recent[0] - since).total_seconds()))
            raise TooMany(f"more than {per_min} a minute", wait)
        recent.append(now)


def is_signed(body: bytes, secret: str, signature: str) -> bool:
    """True where ``signature`` is the hex HMAC-SHA256 of ``body``; compared in constant time."""
    expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace"))


def is_fresh(sent: str | None, now: datetime, max_age_s: float) -> bool:
    """True where it was sent within ``max_age_s`` of now (DOMAIN 17)."""
    try:
        at = datetime.fromisoformat(sent or "")
    except ValueError:
        return False
    return at.tzinfo is not None and abs(now - at) <= timedelta(seconds=max_age_s)


async def _read_body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_PAYLOAD_BYTES:
            raise Invalid("TOO_LARGE", f"a body has {MAX_PAYLOAD_BYTES} bytes at most")
    return bytes(body)


def _vin_of(raw: bytes) -> str:
    """The VIN a body names, not trusted yet; Invalid where it is no JSON object with one."""
    try:
        return msgspec.json.decode(raw, type=_Named).vin
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Invalid("MALFORMED", "the body is not a JSON object with a vin") from None


class _Named(msgspec.Struct):
    vin: str


def _parse(model: type[M], raw: bytes) -> M:
    try:
        parsed = model.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise Invalid("MALFORMED", f"{where}: {first['msg']}") from None
    if "\x00" in parsed.model_dump_json().replace("\\u0000", "\x00"):
        raise Invalid("MALFORMED", "a text holds the character NUL")
    return parsed


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
