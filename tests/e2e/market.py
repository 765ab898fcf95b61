"""A platform on which two customers have their cars, for tests that must not do it any harm."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from api.identity.tokens import read_access
from api.settings import ApiSettings
from caas.demo.platform import SERVICE_ORDER
from caas.demo.secrets import STAFF_PASSWORD
from caas.story.client import wait_for
from caas.story.sale import CUSTOMER_PASSWORD
from caas.story.scene import Scene
from core.clock import SystemClock, rfc3339
from core.ids import new_id
from core.settings import BusSettings, load
from gateway.accounts.commands import set_secret
from gateway.accounts.control import open_control
from partner_sims import signing
from tests.e2e.shop import buy, sold
from tests.e2e.stage import Stage

# A vehicle's VIN that the broker lets in and the registry does not know.
UNKNOWN_VIN = "WAUZZZ8V5KA000077"
UNKNOWN_SECRET = "of-a-car-that-nobody-enrolled"
KNOWN_VIN = "WAUZZZ8V5KA000011"
SHAPE = {"code", "message", "details", "requestId"}


@dataclass(frozen=True)
class Market:
    """The platform, two customers with a car each, and a caller that is nobody yet."""

    stage: Stage
    one: Scene
    other: Scene
    http: httpx.AsyncClient
    bought: str
    known_secret: str
    pids: dict[str, int]

    async def token(self, username: str, password: str = CUSTOMER_PASSWORD) -> str:
        """An access token."""
        answer = await self.http.post(
            "/api/v1/auth/login", json={"username": username, "password": password}
        )
        return answer.raise_for_status().json()["accessToken"]

    async def sales_token(self) -> str:
        return await self.token("sales@dealer-es-001.example", STAFF_PASSWORD)

    @property
    def api_settings(self) -> ApiSettings:
        """As the API reads its tokens."""
        return load(ApiSettings, jwt_secret=self.stage.layout.secrets.jwt)

    def principal(self, token: str):
        """Who a token speaks of."""
        return read_access(self.api_settings, token, SystemClock().now())

    async def refused(
        self,
        method: str,
        path: str,
        status: int,
        code: str,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """A call that must be refused so, in the shape of DOMAIN 16."""
        bearer = {"Authorization": f"Bearer {token}"} if token else {}
        answer = await self.http.request(
            method, path, headers={**bearer, **(headers or {})}, **request
        )
        assert answer.status_code == status, answer.text
        error = answer.json()["error"]
        assert set(error) == SHAPE
        assert error["code"] == code, answer.text
        assert error["message"]
        assert error["requestId"] == answer.headers["x-request-id"]
        return answer

    def assert_unharmed(self) -> None:
        """Every service is well, and still the process it was; the API never answered 5xx."""
        assert self.stage.health() == dict.fromkeys(SERVICE_ORDER, 200)
        assert self.stage.pids() == self.pids


@asynccontextmanager
async def market(stage: Stage) -> AsyncGenerator[Market]:
    """Two sales told to their end at the same time."""
    # Whoever runs the broker may let in what no registry knows.
    given = stage.layout.environment("gateway")
    broker = load(
        BusSettings,
        port=int(given["CAAS_MQTT_PORT"]),
        protocol=given["CAAS_MQTT_PROTOCOL"],
        username=given["CAAS_MQTT_USERNAME"],
        password=given["CAAS_MQTT_PASSWORD"],
    )
    async with open_control(broker) as control:
        await control.run(set_secret(UNKNOWN_VIN, UNKNOWN_SECRET, "of a test"))
    known_secret = await asyncio.to_thread(stage.enroll, KNOWN_VIN)
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(stage.scene())
        other = await stack.enter_async_context(stage.scene(platform="CIERZO"))
        await asyncio.gather(sold(one), sold(other))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=stage.layout.url("api"), trust_env=False, timeout=30)
        )
        bought = await buy(one, "PERF_BOOST_50")
        yield Market(stage, one, other, http, bought, known_secret, stage.pids())


def signed(body: bytes, secret: str, **headers: str) -> dict[str, str]:
    """The headers of a webhook with that body, signed for every partner's way."""
    signature = signing.sign(body, secret)
    return {
        "Content-Type": "application/json",
        signing.FACTORY_HEADER: signature,
        signing.SIGNATURE_HEADER: signature,
        **headers,
    }


async def delivered(scene: Scene, partner: str, path: str) -> dict[str, Any]:
    """A webhook that this partner has already brought to its end."""

    async def read() -> list[dict[str, Any]]:
        listed = await scene.partners.get("/webhooks", state="DELIVERED")
        return [w for w in listed["webhooks"] if w["partner"] == partner and w["path"] == path]

    return (await wait_for(f"a webhook of {partner}", read, bool))[0]


def factory_report(order_id: str, status: str = "IN_PRODUCTION", **more: Any) -> bytes:
    """A factory's webhook body about an hour ago."""
    at = rfc3339(datetime.now(UTC) - timedelta(hours=1))
    return json.dumps({"order_id": order_id, "status": status, "timestamp": at, **more}).encode()


def money_headers(town: Market, body: bytes, **headers: str) -> dict[str, str]:
    """The headers of a good webhook of the payment gateway, but for those given."""
    fresh = {
        signing.ID_HEADER: str(new_id()),
        signing.TIMESTAMP_HEADER: rfc3339(datetime.now(UTC)),
    }
    return signed(body, town.stage.layout.secrets.payment_webhook, **{**fresh, **headers})


def settlement(payment: str) -> bytes:
    """A payment gateway's webhook body: settled now."""
    at = rfc3339(datetime.now(UTC))
    return json.dumps({"paymentId": payment, "status": "SETTLED", "settlementDate": at}).encode()


def purchase_body(town: Market, card: str, **more: Any) -> dict[str, Any]:
    """A day of off-road for the first customer's car, but for what is given."""
    return {
        "vin": town.one.vin,
        "serviceId": "OFF_ROAD",
        "tier": "DAY",
        "schedule": {"type": "IMMEDIATE"},
        "paymentToken": card,
        **more,
    }
