"""The registry over HTTP, as an administrator calls it."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from fastapi import FastAPI
from pydantic import SecretStr

from core.bus.start import BusHolder
from core.clock import SystemClock
from core.contracts.access_token import AccessClaims, sign_access
from core.contracts.states import Role
from core.db import Database
from core.errors import SettingsError
from core.ids import new_id
from core.settings import (
    AccessTokenSettings,
    BusSettings,
    OpsSettings,
    SigningSettings,
    load,
)
from gateway.accounts.settings import AccountsSettings
from gateway.parts import Gateway
from gateway.registry.app import PREFIX, create_registry_app, openapi_document, refuse_demo_secret
from gateway.registry.ca import init_authority
from gateway.registry.routes import RegistryApi
from gateway.registry.settings import CaSettings, RegistrySettings
from tests.gateway.conftest import OTHER_VIN, VIN
from tests.gateway.registry.requests import request

SECRET = "a secret of the access tokens, for tests"
ADMIN = new_id()
NEW = {"vin": VIN, "model": "AURORA", "firmware": "2.4.1"}
VEHICLES = f"{PREFIX}/vehicles"
MAX_IMPORT = 200_000


def token(role: Role = Role.ADMIN, secret: str = SECRET, lifetime_s: float = 60) -> dict[str, str]:
    signed = sign_access(secret, AccessClaims(ADMIN, role), SystemClock().now(), lifetime_s)
    return {"Authorization": f"Bearer {signed}"}


@pytest.fixture
async def http(room: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with an administrator's token."""
    clock = SystemClock()
    init_authority(tmp_path / "ca", clock.now(), timedelta(days=7))
    gateway = Gateway(room, clock, BusHolder(), load(BusSettings), load(SigningSettings))
    api = RegistryApi(
        gateway,
        load(CaSettings, dir=tmp_path / "ca"),
        load(RegistrySettings, import_max_bytes=MAX_IMPORT),
        load(AccessTokenSettings, jwt_secret=SECRET),
        load(AccountsSettings),
    )
    app = FastAPI()
    app.mount(PREFIX, create_registry_app(api))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://gateway", headers=token()
    ) as caller:
        yield caller


async def test_a_vehicle_from_enrolment_to_revocation(http: httpx.AsyncClient) -> None:
    made = await http.post(VEHICLES, json=NEW)
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    assert len(made.json()["secret"]) == 48
    again = await http.post(VEHICLES, json=NEW)
    assert (again.status_code, again.json()["secret"], again.json()["created"]) == (
        200,
        None,
        False,
    )
    rotated = (await http.post(f"{VEHICLES}/{VIN}/rotate", json={})).json()
    assert rotated["secret"] not in (None, made.json()["secret"])
    gone = await http.post(f"{VEHICLES}/{VIN}/revoke", json={"reason": "stolen"})
    assert (gone.json()["vin"], gone.json()["revoked"]) == (VIN, True)
    assert "CAAS_MQTT_USERNAME" in gone.json()["notice"]
    refused = await http.post(f"{VEHICLES}/{VIN}/rotate", json={})
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "VEHICLE_REVOKED")
    shown = (await http.get(f"{VEHICLES}/{VIN}")).json()
    assert shown["enrolment"] == "REVOKED"
    assert [event["action"] for event in shown["events"]] == [
        "ENROLLED", "SECRET_SET", "SECRET_SET", "REVOKED",
    ]  # fmt: skip
    assert {event["actor"] for event in shown["events"]} == {f"admin:{ADMIN}"}
    assert shown["events"][-1]["detail"]["reason"] == "stolen"
    back = await http.post(VEHICLES, json={**NEW, "again": True})
    assert (back.status_code, back.json()["created"]) == (200, False)
    assert back.json()["secret"] is not None


async def test_a_request_becomes_a_certificate(http: httpx.AsyncClient) -> None:
    csr = request(ed25519.Ed25519PrivateKey.generate(), None).decode()
    made = (await http.post(VEHICLES, json={**NEW, "csr": csr})).json()
    assert made["secret"] is None
    certificate = x509.load_pem_x509_certificate(made["certificate"]["pem"].encode())
    assert certificate.subject.rfc4514_string() == f"CN={VIN}"
    newer = request(ed25519.Ed25519PrivateKey.generate(), VIN).decode()
    body = {"csr": newer, "revokeOthers": True}
    assert (await http.post(f"{VEHICLES}/{VIN}/rotate", json=body)).status_code == 200
    old, new = (await http.get(f"{VEHICLES}/{VIN}")).json()["certificates"]
    assert (old["reason"], new["revokedAt"]) == ("superseded", None)
    listed = (await http.get(VEHICLES, params={"expiringDays": 366})).json()
    assert [vehicle["vin"] for vehicle in listed["vehicles"]] == [VIN]
    assert (await http.get(VEHICLES, params={"expiringDays": 30})).json()["vehicles"] == []


async def test_lists_come_in_pages(http: httpx.AsyncClient) -> None:
    for vin in (VIN, OTHER_VIN):
        await http.post(VEHICLES, json={**NEW, "vin": vin})
    first = (await http.get(VEHICLES, params={"limit": 1})).json()
    assert ([vehicle["vin"] for vehicle in first["vehicles"]], first["next"]) == ([VIN], VIN)
    rest = (await http.get(VEHICLES, params={"limit": 1, "after": first["next"]})).json()
    assert ([vehicle["vin"] for vehicle in rest["vehicles"]], rest["next"]) == ([OTHER_VIN], None)


async def test_a_file_is_imported_as_it_streams_in(http: httpx.AsyncClient) -> None:
    lines = f"vin,model,firmware\n{VIN},AURORA,2.4.1\nnonsense\n".encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(lines), 7):
            yield lines[start : start + 7]

    url = f"{VEHICLES}/import"
    strict = await http.post(url, content=pieces(), params={"strict": True})
    assert (strict.status_code, strict.json()["error"]["code"]) == (422, "IMPORT_REFUSED")
    bad = [{"line": 3, "reason": "1 fields where the header has 3"}]
    assert strict.json()["error"]["details"]["bad"] == bad
    assert (await http.get(VEHICLES)).json()["vehicles"] == []
    done = await http.post(url, content=pieces())
    counts = {"lines": 2, "imported": 1, "known": 0, "repeated": 0, "refused": 1}
    assert done.json() == {**counts, "bad": bad, "notice": None}
    huge = await http.post(url, content=b"x" * (MAX_IMPORT + 1))
    assert (huge.status_code, huge.json()["error"]["code"]) == (413, "TOO_LARGE")


CALLS: list[Callable[[httpx.AsyncClient, dict[str, str]], Any]] = [
    lambda http, who: http.get(VEHICLES, headers=who),
    lambda http, who: http.get(f"{VEHICLES}/{VIN}", headers=who),
    lambda http, who: http.post(VEHICLES, json=NEW, headers=who),
    lambda http, who: http.post(f"{VEHICLES}/{VIN}/rotate", json={}, headers=who),
    lambda http, who: http.post(f"{VEHICLES}/{VIN}/revoke", json={}, headers=who),
    lambda http, who: http.post(f"{VEHICLES}/import", content=b"vin", headers=who),
]


@pytest.mark.parametrize("call", CALLS)
async def test_nobody_but_an_administrator_gets_in(http: httpx.AsyncClient, call: Any) -> None:
    wrong = [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        (token(secret="another secret of thirty-two signs"), 401),
        (token(lifetime_s=-120), 401),
        *((token(role), 403) for role in Role if role is not Role.ADMIN),
    ]
    for who, status in wrong:
        answer = await call(http, who)
        assert answer.status_code == status, answer.text
        assert set(answer.json()["error"]) == {"code", "message", "details", "requestId"}
    assert (await http.get(VEHICLES)).json()["vehicles"] == []


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"vin": "short"}, "INVALID_VIN"),
        ({"vin": "1M8GDM9A0KP042788"}, "INVALID_CHECK_DIGIT"),
        ({"model": "NONE"}, "UNKNOWN_MODEL"),
        ({"model": "AUR\0RA"}, "INVALID_REQUEST"),
        ({"firmware": "two words"}, "INVALID_REQUEST"),
        ({"transport": "pigeon"}, "INVALID_REQUEST"),
        ({"colour": "red"}, "INVALID_REQUEST"),
        ({"csr": "nonsense"}, "INVALID_CSR"),
        ({"csr": "x", "certificate": "y"}, "TWO_CREDENTIALS"),
    ],
)
async def test_a_bad_body_is_refused(
    http: httpx.AsyncClient, body: dict[str, str], code: str
) -> None:
    answer = await http.post(VEHICLES, json={**NEW, **body})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, code), answer.text
    assert (await http.get(f"{VEHICLES}/{VIN}")).status_code == 404


def test_the_demo_secret_is_for_this_machine_only() -> None:
    demo, own = load(AccessTokenSettings), load(AccessTokenSettings, jwt_secret=SecretStr(SECRET))
    outside = load(OpsSettings, host="0.0.0.0")
    with pytest.raises(SettingsError):
        refuse_demo_secret(demo, outside)
    refuse_demo_secret(own, outside)
    refuse_demo_secret(demo, load(OpsSettings))


async def test_the_published_document_is_the_served_one(http: httpx.AsyncClient) -> None:
    served = (await http.get(f"{PREFIX}/openapi.json")).json()
    published = json.loads(Path("docs/registry-api.json").read_text(encoding="utf-8"))
    assert served == published, "run `caas vehicles openapi > docs/registry-api.json`"
    assert openapi_document() == published
