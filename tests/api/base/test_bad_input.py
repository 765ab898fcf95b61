"""What strangers and clumsy clients send: refused in the one shape, never an internal error."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from api.deps import ApiDeps
from api.identity.principal import Principal
from api.identity.tokens import issue_access
from core.contracts.states import Role
from core.ids import new_id

JSON = {"Content-Type": "application/json"}
CUSTOMER: dict[str, Any] = {
    "name": "Eva",
    "email": "eva@example.com",
    "phone": "+34 600 000 000",
    "address": {"street": "s", "city": "c", "postalCode": "1", "country": "ES"},
    "taxId": "12345678Z",
}


def bearer(deps: ApiDeps, role: Role) -> dict[str, str]:
    principal = Principal(
        user_id=new_id(),
        role=role,
        customer_id=new_id() if role is Role.CUSTOMER else None,
        dealership_id=new_id(),
        employee_id=new_id(),
    )
    token = issue_access(deps.settings.api, principal, deps.clock.now())
    return {"Authorization": f"Bearer {token}"}


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.mark.parametrize(
    "body",
    [b"{", b'{"username": "\xff"}', b"[" * 100_000, b'{"username": ' + b"9" * 6000 + b"}"],
    ids=["cut off", "not UTF-8", "too deep", "too many digits"],
)
async def test_what_is_no_json_is_400(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/auth/login", content=body, headers=JSON)
    assert refusal(answer) == (400, "MALFORMED_JSON")


@pytest.mark.parametrize("field", ["username", "password"])
async def test_half_a_surrogate_pair_is_no_text(client: httpx.AsyncClient, field: str) -> None:
    texts = {"username": "eva", "password": "secret", field: "@"}
    body = "{" + ", ".join(f'"{name}": "{text}"' for name, text in texts.items()) + "}"
    raw = body.replace("@", r"\ud800").encode()
    answer = await client.post("/auth/login", content=raw, headers=JSON)
    assert refusal(answer) == (422, "INVALID_REQUEST")


async def test_the_character_nul_is_refused_everywhere(
    client: httpx.AsyncClient, deps: ApiDeps
) -> None:
    login = await client.post("/auth/login", json={"username": "a\0b", "password": "x"})
    assert refusal(login) == (422, "INVALID_CONTENT")
    service = await client.get("/services/a%00b", headers=bearer(deps, Role.CUSTOMER))
    assert refusal(service) == (422, "INVALID_CONTENT")
    ticket = await client.get("/support/tickets/a%00b", headers=bearer(deps, Role.SUPPORT))
    assert refusal(ticket) == (422, "INVALID_CONTENT")
    in_address = {"address": {**CUSTOMER["address"], "city": "\0"}}
    for flaw in ({"name": "a\0b"}, in_address):
        body, sales = {**CUSTOMER, **flaw}, bearer(deps, Role.SALES)
        made = await client.post("/intranet/customers", json=body, headers=sales)
        assert refusal(made) == (422, "INVALID_CONTENT")


@pytest.mark.parametrize(
    "token",
    [
        "a",
        "a.b.c",
        "é.é.é",
        "eyJhbGciOiJub25lIn0.e30.",  # {"alg": "none"}
        "eyJhbGciOiJIUzI1NiIsImNyaXQiOjF9.e30.AA",  # {"alg": "HS256", "crit": 1}
        "bnVsbA.e30.AA",  # null as the header
        "W10.e30.AA",  # a list as the header
        "A" * 7000,
    ],
)
async def test_a_token_that_is_none_is_401(client: httpx.AsyncClient, token: str) -> None:
    header = f"Bearer {token}".encode("latin-1")
    answer = await client.get("/expediente", headers={b"Authorization": header})
    assert refusal(answer) == (401, "TOKEN_INVALID")


LIMIT = 200_000
CHUNK = 10_000


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"max_body_bytes": LIMIT}


async def chunks(size: int) -> AsyncIterator[bytes]:
    for _ in range(size // CHUNK):
        yield b" " * CHUNK


@pytest.mark.parametrize(
    "path", ["/auth/login", "/webhooks/settlement", "/webhooks/factory/status"]
)
async def test_a_body_beyond_the_limit_is_413_announced_or_not(
    client: httpx.AsyncClient, path: str
) -> None:
    announced = await client.post(path, content=b" " * (LIMIT + 1), headers=JSON)
    assert refusal(announced) == (413, "TOO_LARGE")
    streamed = await client.post(path, content=chunks(LIMIT * 2), headers=JSON)
    assert refusal(streamed) == (413, "TOO_LARGE")
    fits = await client.post(path, content=b" " * LIMIT, headers=JSON)
    assert fits.status_code in (400, 401, 422)
