"""A foreign IoT API as DOMAIN 9 describes it, on a port of its own, with a hand on its vehicles."""

import asyncio
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from core.clock import rfc3339
from core.contracts.iot_api import (
    MESSAGE_ID_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    ConfigureRequest,
)
from core.ids import new_id
from core.ops import HttpServer
from tests.broker_fixtures import free_port

SECRET = "api-secret"
CALLBACK_SECRET = "callback-secret"
FACTORY: dict[str, Any] = {
    "ENGINE_CONTROL.power_mode": "NORMAL",
    "ADAS.autonomous_highway_enabled": False,
    "HVAC.climate_zones": 1,
    "INFOTAINMENT.premium_streaming": False,
    "TRACTION_CONTROL.off_road_mode": False,
    "TRACTION_CONTROL.snow_mode_available": 0,
}


@dataclass
class Order:
    """A command as the API keeps it."""

    command_id: str
    request_id: str
    body: dict[str, Any]
    status: str = "IN_PROGRESS"
    error_code: str | None = None

    def view(self) -> dict[str, Any]:
        return {
            "commandId": self.command_id,
            "requestId": self.request_id,
            "status": self.status,
            "timestamp": rfc3339(datetime.now(UTC)),
            "errorCode": self.error_code,
        }


@dataclass
class Behind:
    """A vehicle behind the API."""

    values: dict[str, Any] = field(default_factory=lambda: dict(FACTORY))
    connectivity: str = "ONLINE"
    operational: str = "PARKED"
    signal: float = 80.0
    reported_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass
class StandIn:
    """``mood`` of a configure: done, hold (nothing more), or the code it fails with.

    ``answers``: statuses to give instead, each once, by path's last part; ``always``: the same,
    with the body's bytes, until taken out. ``reports`` False: the status says nothing of the
    configuration, as DOMAIN 9 alone has it.
    """

    url: str
    vehicles: dict[str, Behind] = field(default_factory=dict[str, Behind])
    orders: list[Order] = field(default_factory=list[Order])
    mood: str = "done"
    answers: dict[str, list[tuple[int, dict[str, Any], dict[str, str]]]] = field(
        default_factory=dict[str, list[tuple[int, dict[str, Any], dict[str, str]]]]
    )
    always: dict[str, tuple[int, bytes]] = field(default_factory=dict[str, tuple[int, bytes]])
    reports: bool = True
    callback_url: str | None = None
    tokens: set[str] = field(default_factory=set[str])
    tokens_given: int = 0
    shown: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    log: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    calls: list[str] = field(default_factory=list[str])
    hang: asyncio.Event | None = None

    def fail(self, call: str, status: int, code: str = "X", **headers: str) -> None:
        """Answer the next ``call`` with an error."""
        body = {"error": {"code": code, "message": f"as the test wants: {code}"}}
        self.answers.setdefault(call, []).append((status, body, headers))

    def finish(self, order: Order, error_code: str | None = None) -> None:
        """The vehicle did it, or did not."""
        behind = self.vehicles[order.body["vin"]]
        if error_code is None:
            behind.values.update(order.body["configuration"]["parameters"])
            behind.reported_at = datetime.now(UTC)
        order.status = "COMPLETED" if error_code is None else "FAILED"
        order.error_code = error_code

    async def call_back(
        self, order: Order, *, secret: str = CALLBACK_SECRET, message_id: str | None = None
    ) -> httpx.Response:
        """Tell the platform how an order ended, signed."""
        body = {
            "requestId": order.request_id,
            "commandId": order.command_id,
            "vin": order.body["vin"],
            "status": "ACTIVATED" if order.status == "COMPLETED" else "FAILED",
            "errorCode": order.error_code,
            "timestamp": rfc3339(datetime.now(UTC)),
        }
        assert self.callback_url is not None
        return await send_signed(self.callback_url, body, secret=secret, message_id=message_id)


async def send_signed(
    url: str,
    body: dict[str, Any],
    *,
    secret: str = CALLBACK_SECRET,
    message_id: str | None = None,
    at: datetime | None = None,
) -> httpx.Response:
    """A signed webhook."""
    raw = json.dumps(body).encode()
    headers = {
        "Content-Type": "application/json",
        SIGNATURE_HEADER: hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest(),
        MESSAGE_ID_HEADER: message_id or str(new_id()),
        TIMESTAMP_HEADER: rfc3339(at or datetime.now(UTC)),
    }
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(url, content=raw, headers=headers)


@contextlib.asynccontextmanager
async def standing_in() -> AsyncGenerator[StandIn]:
    """The API, served until the end of the block."""
    port = free_port()
    api = StandIn(f"http://127.0.0.1:{port}/v9")
    stop = asyncio.Event()
    serving = asyncio.create_task(HttpServer(_app(api), "127.0.0.1", port).run(stop))
    try:
        yield api
    finally:
        if api.hang is not None:
            api.hang.set()
        stop.set()
        await serving


def _app(api: StandIn) -> FastAPI:
    app = FastAPI()
    app.add_api_route("/v9/oauth/token", _token(api), methods=["POST"])

    @app.middleware("http")
    async def guard(request: Request, go_on: Any) -> Any:  # pyright: ignore[reportUnusedFunction]
        call = request.url.path.rsplit("/", 1)[-1]
        if "/commands/" in request.url.path:
            call = "command"
        api.calls.append(call)
        if call != "token":
            token = request.headers.get("authorization", "").removeprefix("Bearer ")
            if token not in api.tokens:
                return JSONResponse({"error": {"code": "TOKEN_INVALID"}}, status_code=401)
        if api.hang is not None and call == "configure":
            await api.hang.wait()
        if api.answers.get(call):
            status, body, headers = api.answers[call].pop(0)
            return JSONResponse(body, status_code=status, headers=headers)
        if call in api.always:
            status, raw = api.always[call]
            return Response(raw, status, media_type="application/json")
        return await go_on(request)

    _add_calls(app, api)
    _add_looks(app, api)
    return app


def _token(api: StandIn) -> Any:
    async def token(request: Request) -> JSONResponse:
        wanted = httpx.BasicAuth("caas", SECRET)._auth_header  # the header a good client sends
        if request.headers.get("authorization") != wanted:
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        api.tokens_given += 1
        made = f"token-{api.tokens_given}"
        api.tokens.add(made)
        return JSONResponse({"access_token": made, "token_type": "Bearer", "expires_in": 3600})

    return token


def _add_calls(app: FastAPI, api: StandIn) -> None:
    @app.post("/v9/vehicle/{vin}/configure", status_code=202)
    async def configure(vin: str, request: Request) -> Any:  # pyright: ignore[reportUnusedFunction]
        body = await request.json()
        ConfigureRequest.model_validate(body)
        if vin not in api.vehicles:
            return JSONResponse({"error": {"code": "UNKNOWN_VIN"}}, status_code=404)
        request_id = request.headers["x-request-id"]
        for order in api.orders:
            if order.request_id == request_id:
                return order.view()  # the same again, and not done twice
        order = Order(str(new_id()), request_id, body)
        api.orders.append(order)
        first = order.view()
        if api.mood != "hold":
            api.finish(order, None if api.mood == "done" else api.mood)
        return first

    @app.post("/v9/vehicle/{vin}/show", status_code=202)
    async def show(vin: str, request: Request) -> Any:  # pyright: ignore[reportUnusedFunction]
        body = await request.json()
        api.shown.append((vin, body["text"], body["level"]))
        order = Order(str(new_id()), request.headers["x-request-id"], body, "COMPLETED")
        api.orders.append(order)
        return order.view()

    @app.get("/v9/vehicle/{vin}/commands/{command_id}")
    async def command(vin: str, command_id: str) -> Any:  # pyright: ignore[reportUnusedFunction]
        for order in api.orders:
            if (order.body["vin"], order.command_id) == (vin, command_id):
                return order.view()
        return JSONResponse({"error": {"code": "UNKNOWN_COMMAND"}}, status_code=404)


def _add_looks(app: FastAPI, api: StandIn) -> None:
    @app.get("/v9/vehicle/{vin}/status")
    async def status(vin: str) -> Any:  # pyright: ignore[reportUnusedFunction]
        if vin not in api.vehicles:
            return JSONResponse({"error": {"code": "UNKNOWN_VIN"}}, status_code=404)
        behind = api.vehicles[vin]
        answer: dict[str, Any] = {
            "vin": vin,
            "connectivity": behind.connectivity,
            "lastSeen": rfc3339(datetime.now(UTC)),
            "activeServices": [],
            "diagnostics": {"firmwareVersion": "2.4.1", "networkSignalStrength": behind.signal},
        }
        if api.reports:
            answer |= {
                "operational": behind.operational,
                "model": "AURORA",
                "reportedConfiguration": behind.values,
                "reportedAt": rfc3339(behind.reported_at),
            }
        return answer

    @app.get("/v9/vehicle/{vin}/health")
    async def health(vin: str) -> Any:  # pyright: ignore[reportUnusedFunction]
        behind = api.vehicles[vin]
        return {
            "reachable": behind.connectivity != "OFFLINE",
            "lastSeen": rfc3339(datetime.now(UTC)),
            "networkSignalStrength": behind.signal,
            "latencyMs": 40,
            "packetLoss": 0.5,
        }

    @app.get("/v9/vehicle/{vin}/diagnostics")
    async def diagnostics(vin: str) -> Any:  # pyright: ignore[reportUnusedFunction]
        log = api.log if vin == next(iter(api.vehicles)) else []
        return {"errorCodes": [], "firmwareVersion": "2.4.1", "vehicleLog": log}
