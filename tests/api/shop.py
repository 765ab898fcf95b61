"""A shop to test with: seeded catalogue, a customer with his linked car, real partners, real API.

The OTA engine is not here: its side of the views is written as the engine's own role would.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import msgspec
import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from api.app import create_app
from api.deps import ApiDeps
from api.identity.principal import Principal
from api.identity.tokens import issue_access
from api.notifications.settings import NotificationSettings
from api.nouns import handlers
from api.partners.clients import build_partners
from api.services.seed import seed_catalogue
from api.settings import ApiSettings, PartnerSettings, Settings
from core.clock import ManualClock
from core.contracts.jobs import Job
from core.contracts.states import Role
from core.db import Database
from core.ids import new_id
from core.ops import HttpServer
from core.settings import DatabaseSettings
from tests.partner_sims.harness import Partners, free_ports

VIN = "VF1AURRA000000017"
GOOD_CARD = "4242424242424242"
BAD_CARD = "4000000000000002"
PENDING_CARD = "4000000000003220"
PLAN = {"discounts": {"servicesPercent": "0"}, "initialOptions": [], "permanentOptions": []}


async def eventually(check: Callable[[], Any], timeout_s: float = 15.0) -> Any:
    """The first true value of ``check`` (may be a coroutine function)."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = check()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        assert time.monotonic() < deadline, "the awaited thing did not happen"
        await asyncio.sleep(0.02)


@dataclass
class Shop:
    """Everything a test needs in hand."""

    deps: ApiDeps
    clock: ManualClock
    partners: Partners
    client: httpx.AsyncClient
    dsn: str
    customer_id: UUID
    vin: str = VIN
    keys: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    def token(self, role: Role, *, customer_id: UUID | None = None) -> dict[str, str]:
        principal = Principal(user_id=new_id(), role=role, customer_id=customer_id)
        value = issue_access(self.deps.settings.api, principal, self.clock.now())
        return {"Authorization": f"Bearer {value}"}

    @property
    def customer(self) -> dict[str, str]:
        return self.token(Role.CUSTOMER, customer_id=self.customer_id)

    async def card(self, pan: str = GOOD_CARD) -> str:
        """The hosted form gives a token for a card."""
        body = {"pan": pan, "exp": "12/2039", "cvv": "123"}
        async with httpx.AsyncClient(base_url=self.partners.url) as form:
            answer = await form.post("/payments/_form/tokenize", json=body)
        return answer.json()["payment_token"]

    async def buy(
        self,
        service: str = "PERF_BOOST_50",
        *,
        tier: str = "WEEK",
        pan: str = GOOD_CARD,
        token: str | None = None,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        **more: Any,
    ) -> httpx.Response:
        body = {
            "vin": self.vin,
            "serviceId": service,
            "tier": tier,
            "paymentToken": token or await self.card(pan),
            **more,
        }
        key = key or f"test-key-{next(self.keys)}"
        return await self.client.post(
            "/services/purchase",
            json=body,
            headers={"Idempotency-Key": key, **(headers or self.customer)},
        )

    async def rows(self, query: str, *params: Any) -> list[dict[str, Any]]:
        """As the database's owner."""
        async with (
            await psycopg.AsyncConnection.connect(
                self.dsn, autocommit=True, options="-c search_path=jobs"
            ) as conn,
            conn.cursor(row_factory=dict_row) as cursor,
        ):
            await cursor.execute(query.encode(), params)
            return await cursor.fetchall() if cursor.description else []

    async def jobs(self, kind: type[Job]) -> list[Any]:
        """The waiting jobs of a kind."""
        rows = await self.rows(
            "SELECT args FROM jobs.procrastinate_jobs WHERE task_name = %s AND status = 'todo'"
            " ORDER BY id",
            kind.task_name(),
        )
        return [msgspec.convert(row["args"]["payload"], kind) for row in rows]

    async def work(self) -> None:
        """Run every waiting job of the worker's queue, and what these defer, one by one."""
        known = {kind.task_name(): (kind, run) for kind, run in handlers(self.deps).items()}
        while rows := await self.rows(
            "SELECT id, task_name, args FROM jobs.procrastinate_jobs"
            " WHERE queue_name = 'api' AND status = 'todo' ORDER BY id LIMIT 1"
        ):
            (row,) = rows
            kind, run = known[row["task_name"]]
            await run(msgspec.convert(row["args"]["payload"], kind))
            await self.rows("DELETE FROM jobs.procrastinate_jobs WHERE id = %s", row["id"])

    async def run_job(self, job: Job) -> None:
        await handlers(self.deps)[type(job)](job)

    async def engine_says(self, activation_id: str, state: str, **more: Any) -> None:
        """Put the engine's row of a purchase into a state, as its view would show it."""
        now = self.clock.now()
        days = more.get("duration_days", 7)
        activated = now if state == "ACTIVE" else None
        await self.rows(
            "INSERT INTO ota.activation (activation_id, vin, service_code, origin, customer_id,"
            " payment_id, state, paid, duration_days, purchased_at, activated_at, expires_at)"
            " SELECT activation_id, vin, service_code, 'PURCHASE', customer_id, payment_id, %s,"
            " true, %s, purchased_at, %s, %s FROM services.purchase WHERE activation_id = %s"
            " ON CONFLICT (activation_id) DO UPDATE SET state = excluded.state",
            state,
            days,
            activated,
            activated + timedelta(days=days) if activated and days else None,
            activation_id,
        )

    async def payment(self, activation_id: str) -> dict[str, Any]:
        rows = await self.rows("SELECT * FROM billing.payment WHERE target = %s", activation_id)
        return rows[-1]

    def ledger(self, reference: str) -> dict[str, int]:
        """What the gateway moved for an activation or order, by kind."""
        answer = self.partners.http.get(
            "/payments/_control/ledger", params={"reference": reference}
        )
        return answer.json()["totals"]

    def mails(self, **query: str) -> list[dict[str, Any]]:
        return self.partners.http.get("/mail/messages", params=query).json()["messages"]


@pytest.fixture(scope="session")
def api_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def shop_partners(tmp_path_factory: pytest.TempPathFactory, api_port: int) -> Iterator[Partners]:
    folder: Path = tmp_path_factory.mktemp("partners")
    # Slow enough that a test sees a refund and a settlement under way before they end.
    delays = {"SETTLE_DELAY_S": "0.3", "REFUND_DELAY_S": "0.3"}
    partners = Partners(folder, f"http://127.0.0.1:{api_port}", delays)
    partners.start()
    yield partners
    partners.close()


@pytest.fixture
async def shop(database: str, shop_partners: Partners, api_port: int) -> AsyncIterator[Shop]:
    # What an earlier test left to come would arrive at this one's API.
    shop_partners.http.delete("/pending").raise_for_status()
    shop_partners.http.delete("/faults")
    shop_partners.http.delete("/mail/messages")
    shop_partners.http.delete(f"/vss/_control/vehicles/{VIN}")
    clock = ManualClock(datetime.now(UTC))
    settings = _settings(shop_partners, api_port)
    opened = Database(
        DatabaseSettings.model_validate({"dsn": database, "set_role": True, "pool_max": 4}),
        role="caas_api",
        service="test",
    )
    await opened.open()
    deps = ApiDeps(opened, clock, settings, build_partners(settings.partner))
    customer_id = await _fill(deps)
    stop = asyncio.Event()
    server = asyncio.create_task(HttpServer(create_app(deps), "127.0.0.1", api_port).run(stop))
    url = f"http://127.0.0.1:{api_port}/api/v1"
    async with httpx.AsyncClient(base_url=url, timeout=20) as client:
        await eventually(lambda: _answers(client))
        yield Shop(deps, clock, shop_partners, client, database, customer_id)
    stop.set()
    await server
    await deps.partners.close()
    await opened.close()


async def _answers(client: httpx.AsyncClient) -> bool:
    with suppress(httpx.TransportError):
        # Not the OpenAPI document: making it takes a second.
        return (await client.get(client.base_url.copy_with(path="/healthz"))).status_code == 200
    return False


def _settings(partners: Partners, api_port: int) -> Settings:
    url, secret = partners.url, partners.secrets
    return Settings(
        ApiSettings.model_validate({"public_url": f"http://127.0.0.1:{api_port}"}),
        PartnerSettings.model_validate(
            {
                "payments_url": f"{url}/payments",
                "payments_token": secret["PAYMENT_TOKEN"],
                "vss_url": f"{url}/vss",
                "vss_client_secret": secret["VSS_CLIENT_SECRET"],
                "payments_webhook_secret": secret["PAYMENT_WEBHOOK_SECRET"],
                "smtp_port": partners.smtp_port,
                "payments_waits_s": (0.0, 0.0, 0.0),
            }
        ),
        notify=NotificationSettings.model_validate(
            {"push_url": f"{url}/mail/push", "sms_url": f"{url}/mail/sms"}
        ),
    )


async def _fill(deps: ApiDeps) -> UUID:
    """Catalogue, dealership, seller, customer, his operational order and its car."""
    ids = {name: new_id() for name in ("dealer", "seller", "customer", "order")}
    address = Jsonb(
        {"street": "Mayor 1", "city": "Madrid", "postal_code": "28013", "country": "ES"}
    )
    row: dict[str, Any] = {**ids, "address": address, "vin": VIN, "plan": Jsonb(PLAN)}
    row["now"] = deps.clock.now()
    async with deps.database.transaction() as conn:
        await seed_catalogue(conn)
        await conn.execute(
            "INSERT INTO customers.dealership VALUES"
            " (%(dealer)s, 'DEALER-ES-001', 'Madrid', %(address)s, 'A-1')",
            row,
        )
        await conn.execute(
            "INSERT INTO customers.employee (employee_id, dealership_id, role, name, email,"
            " valid_from) VALUES (%(seller)s, %(dealer)s, 'SALES', 'Sol', 's@caas.example',"
            " %(now)s)",
            row,
        )
        await conn.execute(
            "INSERT INTO customers.customer (customer_id, name, email, phone, address, tax_id,"
            " language) VALUES (%(customer)s, 'Eva Ruiz', 'eva@example.com', '+34600000001',"
            " %(address)s, '12345678Z', 'en')",
            row,
        )
        await conn.execute(
            "INSERT INTO orders.vehicle (vin, model, firmware_version, customer_id, dealership_id,"
            " assignment_status) VALUES (%(vin)s, 'AURORA', '2.4.1', %(customer)s, %(dealer)s,"
            " 'ASSIGNED_TO_CUSTOMER')",
            row,
        )
        await conn.execute(
            "INSERT INTO orders.customer_order (order_id, customer_id, dealership_id, sold_by,"
            " status, platform, plan, total_minor, deposit_minor, delivery_address, vin,"
            " ordered_at)"
            " VALUES (%(order)s, %(customer)s, %(dealer)s, %(seller)s, 'OPERATIONAL', 'AURORA',"
            " %(plan)s, 4200000, 420000, %(address)s, %(vin)s, %(now)s)",
            row,
        )
    return ids["customer"]
