"""Logging in over HTTP: the order of checks, tokens, the activation link, the rate limit."""

from datetime import timedelta
from uuid import UUID

import httpx
import pytest

from api.deps import ApiDeps
from api.identity import repository, service
from api.identity.passwords import hash_password
from core.clock import ManualClock
from core.contracts.states import Role
from core.ids import new_id

PASSWORD = "correct horse battery"


async def make_employee(deps: ApiDeps, *, days: int = 365, role: Role = Role.ADMIN) -> UUID:
    employee, now = new_id(), deps.clock.now()
    async with deps.database.transaction() as conn:
        await conn.execute(
            "INSERT INTO customers.employee (employee_id, role, name, email, valid_from,"
            " valid_until)"
            " VALUES (%(id)s, %(role)s, 'Ana', 'ana@caas.example', %(now)s, %(until)s)",
            {"id": employee, "role": role, "now": now, "until": now + timedelta(days=days)},
        )
        await repository.insert_user(
            conn,
            user_id=new_id(),
            username="ana@caas.example",
            role=role,
            employee_id=employee,
            password_hash=await hash_password(PASSWORD),
            activated_at=now,
        )
    return employee


async def make_customer(deps: ApiDeps) -> UUID:
    customer = new_id()
    async with deps.database.transaction() as conn:
        await conn.execute(
            "INSERT INTO customers.customer (customer_id, name, email, phone, address, tax_id)"
            " VALUES (%(id)s, 'Eva', 'Eva@example.com', '+34', '{}', '1')",
            {"id": customer},
        )
        return await service.create_customer_account(
            conn, customer_id=customer, email="Eva@example.com"
        )


def login(client: httpx.AsyncClient, username: str = "ana@caas.example", password: str = PASSWORD):
    return client.post("/auth/login", json={"username": username, "password": password})


async def test_an_employee_logs_in_and_stays_in(client: httpx.AsyncClient, deps: ApiDeps) -> None:
    await make_employee(deps)
    answer = await login(client, "ANA@caas.example")
    assert answer.status_code == 200
    body = answer.json()
    assert body["role"] == "ADMIN"
    assert body["tokenType"] == "Bearer"
    assert body["expiresIn"] == 900
    again = await client.post("/auth/refresh", json={"refreshToken": body["refreshToken"]})
    assert again.status_code == 200
    assert again.json()["refreshToken"] != body["refreshToken"]


async def test_a_stolen_refresh_token_ends_the_whole_login(
    client: httpx.AsyncClient, deps: ApiDeps
) -> None:
    await make_employee(deps)
    first = (await login(client)).json()["refreshToken"]
    second = (await client.post("/auth/refresh", json={"refreshToken": first})).json()
    stolen = await client.post("/auth/refresh", json={"refreshToken": first})
    assert (stolen.status_code, stolen.json()["error"]["code"]) == (401, "REFRESH_INVALID")
    own = await client.post("/auth/refresh", json={"refreshToken": second["refreshToken"]})
    assert own.status_code == 401


@pytest.mark.parametrize(
    ("username", "password"), [("ana@caas.example", "wrong"), ("nobody@caas.example", PASSWORD)]
)
async def test_name_and_password_fail_alike(
    client: httpx.AsyncClient, deps: ApiDeps, username: str, password: str
) -> None:
    await make_employee(deps)
    answer = await login(client, username, password)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "INVALID_CREDENTIALS"


async def test_employment_that_is_over_closes_the_login(
    client: httpx.AsyncClient, deps: ApiDeps, clock: ManualClock
) -> None:
    await make_employee(deps, days=1)
    clock.advance(2 * 86400)
    answer = await login(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "NOT_EMPLOYED")


async def test_a_customer_without_a_purchase_is_refused(
    client: httpx.AsyncClient, deps: ApiDeps, clock: ManualClock
) -> None:
    user = await make_customer(deps)
    async with deps.database.transaction() as conn:
        sent = await service.issue_credentials(conn, deps.settings.api, user, clock.now())
    answer = await login(client, sent.username, sent.password)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "NO_PURCHASE")


async def test_the_activation_link_sets_a_password_once(
    client: httpx.AsyncClient, deps: ApiDeps, clock: ManualClock
) -> None:
    user = await make_customer(deps)
    async with deps.database.transaction() as conn:
        sent = await service.issue_credentials(conn, deps.settings.api, user, clock.now())
    body = {"token": sent.activation_url.partition("token=")[2], "newPassword": "a-new-password"}
    assert (await client.post("/auth/activate", json=body)).status_code == 200
    assert (await client.post("/auth/activate", json=body)).status_code == 422
    assert (await login(client, sent.username, sent.password)).status_code == 401
    assert (await login(client, sent.username, "a-new-password")).status_code == 403  # no purchase


async def test_too_many_logins_of_one_user_are_stopped(
    client: httpx.AsyncClient, deps: ApiDeps, clock: ManualClock
) -> None:
    await make_employee(deps)
    for _ in range(deps.settings.api.login_rate_user):
        assert (await login(client, password="wrong")).status_code == 401
    stopped = await login(client)
    assert stopped.status_code == 429
    assert 1 <= int(stopped.headers["Retry-After"]) <= 60
    clock.advance(61)
    assert (await login(client)).status_code == 200
