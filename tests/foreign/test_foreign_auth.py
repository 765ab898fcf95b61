"""Who we are to a foreign API: a signed request, a client certificate; and its text and events."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from fastapi import FastAPI, Request

from core.clock import SystemClock, rfc3339
from core.contracts.bus import Answer, Command, CommandKind, EventType, Result, VehicleEvent
from core.errors import SettingsError
from core.ids import new_id
from gateway.foreign.apis import ForeignApi
from gateway.foreign.breaker import Breaker
from gateway.foreign.client import ForeignClient
from gateway.foreign.outcome import Down, Reply
from gateway.foreign.translate import order_of
from tests.broker_fixtures import RunningBroker, free_port
from tests.foreign.world import VIN, running
from tests.gateway.conftest import eventually


def client(
    url: str, auth: dict[str, Any], transport: httpx.AsyncBaseTransport | None = None, **more: Any
) -> ForeignClient:
    api = ForeignApi.model_validate({"name": "x", "base_url": url, "auth": auth, **more})
    breaker = Breaker(failures=5, window_s=60, open_s=60)
    return ForeignClient(api, SystemClock(), breaker, transport)


async def test_a_request_is_signed_with_its_body_and_time(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("shared")
    seen: list[httpx.Request] = []

    def take(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(404, json={"error": {"code": "UNKNOWN_VIN"}})

    auth = {"kind": "hmac", "key_id": "caas-1", "secret_file": str(tmp_path / "s")}
    calls = client("https://api.example/v1", auth, httpx.MockTransport(take))
    command = _command()
    outcome = await calls.configure(VIN, command.command_id, order_of(command))
    await calls.close()
    assert outcome == Reply(404, {"error": {"code": "UNKNOWN_VIN"}})
    (request,) = seen
    moment = request.headers["X-Timestamp"]
    head = f"POST\n/v1/vehicle/{VIN}/configure\n{moment}\n{command.command_id}\n"
    lines = head.encode() + request.content
    signature = hmac.new(b"shared", lines, hashlib.sha256).hexdigest()
    assert request.headers["X-Signature"] == signature
    assert request.headers["X-Api-Key"] == "caas-1"
    assert json.loads(request.content)["vin"] == VIN
    assert abs(datetime.now(UTC) - datetime.fromisoformat(moment)) < timedelta(minutes=1)


async def test_a_secret_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    auth = {"kind": "hmac", "key_id": "k", "secret_file": str(tmp_path / "none")}
    with pytest.raises(SettingsError, match="cannot read the secret"):
        client("https://api.example", auth)
    (tmp_path / "none").write_text("\n")
    with pytest.raises(SettingsError, match="is empty"):
        client("https://api.example", auth)


async def test_a_client_certificate_is_shown_and_the_server_checked(tmp_path: Path) -> None:
    _certificates(tmp_path)
    async with _tls_server(tmp_path) as url:
        auth = {
            "kind": "mtls",
            "certificate_file": str(tmp_path / "client.crt"),
            "key_file": str(tmp_path / "client.key"),
        }
        ours = client(url, auth, ca_file=str(tmp_path / "ca.crt"))
        assert await ours.health(VIN) == Reply(200, {"reachable": True})
        await ours.close()
        strangers = client(url, auth)  # the system does not know the server's CA
        assert isinstance(await strangers.health(VIN), Down)
        await strangers.close()
        (tmp_path / "s").write_text("x")
        without = client(
            url,
            {"kind": "hmac", "key_id": "k", "secret_file": str(tmp_path / "s")},
            ca_file=str(tmp_path / "ca.crt"),
        )
        assert isinstance(await without.health(VIN), Down)
        await without.close()
    with pytest.raises(SettingsError, match="certificates of the API x"):
        client(url, {**auth, "key_file": str(tmp_path / "ca.crt")})


async def test_five_failures_open_the_breaker(tmp_path: Path) -> None:
    (tmp_path / "s").write_text("x")
    calls = 0

    def fail(_request: httpx.Request) -> httpx.Response:
        nonlocal calls
        calls += 1
        raise httpx.ConnectError("refused")

    auth = {"kind": "hmac", "key_id": "k", "secret_file": str(tmp_path / "s")}
    broken = client("https://api.example", auth, httpx.MockTransport(fail))
    outcomes = [await broken.health(VIN) for _ in range(8)]
    await broken.close()
    assert calls == 5
    assert [isinstance(o, Down) and o.retry_at is not None for o in outcomes] == (
        [False] * 5 + [True] * 3
    )


async def test_texts_and_events_where_the_api_has_them(
    database: str,
    mosquitto_broker: RunningBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"paths": {"display": "/vehicle/{vin}/show"}, "events": True}
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, api_options=options
    ) as world:
        text = await world.order(kind=CommandKind.DISPLAY, text="code 4711", level="WARNING")
        await world.answer(text, Result.APPLIED)
        assert world.api.shown == [(VIN, "code 4711", "WARNING")]
        at = datetime.now(UTC)
        world.api.log = [
            {"at": rfc3339(at), "type": "LINK_CONFIRMED", "code": "4711", "detail": None},
            {"at": rfc3339(at), "type": "OF_ANOTHER_CONTRACT"},
            {"at": "2020-01-01T00:00:00Z", "type": "BOOT"},
        ]
        event = await world.hears(VehicleEvent)
        assert (event.type, event.code) == (EventType.LINK_CONFIRMED, "4711")
        looks = world.api.calls.count("diagnostics")

        async def looked_again() -> bool:
            return world.api.calls.count("diagnostics") >= looks + 4

        await eventually(looked_again, "the log was read again")
        assert len(world.all(VehicleEvent)) == 1
        assert [a.result for a in world.all(Answer)] == [Result.ACCEPTED, Result.APPLIED]


def _command() -> Command:
    now = datetime.now(UTC)
    return Command(VIN, new_id(), 1, CommandKind.CONFIGURE, now, now + timedelta(seconds=60))


@contextlib.asynccontextmanager
async def _tls_server(folder: Path) -> AsyncGenerator[str]:
    app = FastAPI()

    @app.get("/vehicle/{vin}/health")
    async def health(_request: Request) -> dict[str, bool]:  # pyright: ignore[reportUnusedFunction]
        return {"reachable": True}

    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=port,
            log_config=None,
            ssl_certfile=folder / "server.crt",
            ssl_keyfile=folder / "server.key",
            ssl_ca_certs=str(folder / "ca.crt"),
            ssl_cert_reqs=ssl.CERT_REQUIRED,
        )
    )
    serving = asyncio.create_task(server._serve())  # without handlers for signals

    async def started() -> bool:
        return server.started

    await eventually(started, "the TLS server listens")
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


def _certificates(folder: Path) -> None:
    """A CA, and a server and a client of it."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("ca", ca_key, "ca", ca_key, is_ca=True)
    (folder / "ca.crt").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    for name in ("server", "client"):
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(name, key, "ca", ca_key)
        (folder / f"{name}.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool = False,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(issuer_key, hashes.SHA256())
    )
