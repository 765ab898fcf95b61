"""Issue 2: bad input gets a clear error or the quarantine, and nothing stops."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from api.identity.tokens import issue_access
from caas.demo.secrets import STAFF_PASSWORD
from caas.story.client import wait_for
from core.clock import rfc3339
from core.ids import new_id
from partner_sims import signing
from tests.e2e.market import (
    KNOWN_VIN,
    UNKNOWN_SECRET,
    UNKNOWN_VIN,
    Market,
    delivered,
    factory_report,
    market,
    money_headers,
    purchase_body,
    settlement,
    signed,
)
from tests.e2e.messages import BAD, TOPICS, as_bytes, client, send
from tests.e2e.shop import activation, captured
from tests.e2e.stage import Stage, stage
from tests.parts import require

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

FACTORY = "/api/v1/webhooks/factory/status"
SETTLEMENT = "/api/v1/webhooks/settlement"
REFUND = "/api/v1/webhooks/refund"
PURCHASE = "/api/v1/services/purchase"
ORDERS = "/api/v1/intranet/orders"
LOGIN = "/api/v1/auth/login"


@pytest.fixture(scope="module")
def platform() -> Iterator[Stage]:
    require("mosquitto")
    # Three AURORA, a BOREAL, a CIERZO.
    with stage(vehicles=5, prefer="mosquitto") as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def market_(platform: Stage) -> AsyncIterator[Market]:
    async with market(platform) as made:
        await activation(made.one, made.bought, state="ACTIVE")
        yield made


@pytest.fixture
def town(market_: Market) -> Iterator[Market]:
    """The platform, which must be as well after the test as before."""
    yield market_
    market_.assert_unharmed()


# --- on the bus -------------------------------------------------------------------------------


async def quarantined(town: Market, payloads: dict[str, bytes]) -> list[tuple[str, str]]:
    """(topic, reason) of those messages once all of them are in the quarantine."""

    async def read() -> list[dict[str, Any]]:
        return town.stage.rows(
            "SELECT topic, reason FROM telemetry.quarantine_v1"
            " WHERE topic = ANY(%s) AND payload = ANY(%s) ORDER BY topic",
            list(payloads),
            list(payloads.values()),
        )

    found = await wait_for("the quarantine", read, lambda rows: len(rows) >= len(payloads))
    return [(row["topic"], row["reason"]) for row in found]


@pytest.mark.parametrize("what", BAD)
async def test_a_message_that_is(what: str, town: Market) -> None:
    reason, make = BAD[what]
    with client(town.stage, KNOWN_VIN, town.known_secret) as car:
        payloads: dict[str, bytes] = {}
        for topic in TOPICS:
            payload = make(topic)
            payloads[send(car, KNOWN_VIN, topic, payload)] = payload
        found = await quarantined(town, payloads)
        assert found == [(topic, reason) for topic in sorted(payloads)]
        # The same car's next good message is stored as if nothing had been.
        at = datetime.now(UTC)
        send(car, KNOWN_VIN, "telemetry", as_bytes("telemetry"))

        async def stored() -> list[dict[str, Any]]:
            return town.stage.rows(
                "SELECT 1 FROM telemetry.sample_v1 WHERE vin = %s AND t >= %s",
                KNOWN_VIN,
                at - timedelta(milliseconds=1),
            )

        await wait_for("the good message", stored, bool)


async def test_a_message_of_a_car_nobody_knows(town: Market) -> None:
    with client(town.stage, UNKNOWN_VIN, UNKNOWN_SECRET) as car:
        payloads: dict[str, bytes] = {}
        for topic in TOPICS:
            payload = as_bytes(topic)
            payloads[send(car, UNKNOWN_VIN, topic, payload)] = payload
        found = await quarantined(town, payloads)
    assert found == [(topic, "UNKNOWN_VIN") for topic in sorted(payloads)]


# --- webhooks ---------------------------------------------------------------------------------


async def factory_answers(town: Market, body: bytes, headers: dict[str, str]) -> tuple[int, Any]:
    answer = await town.http.post(FACTORY, content=body, headers=headers)
    return answer.status_code, answer.json()


async def factory_order(town: Market) -> str:
    order = await town.one.customer.get(f"/api/v1/orders/{town.one.order_id}")
    return order["factoryOrderId"]


async def test_the_factory_with_a_wrong_signature(town: Market) -> None:
    body = factory_report(await factory_order(town))
    for headers in (signed(body, "another secret"), {}, {signing.FACTORY_HEADER: "é"}):
        given = {name.encode(): value.encode() for name, value in headers.items()}
        answer = await town.http.post(FACTORY, content=body, headers=given)
        assert answer.status_code == 400
        assert answer.json()["received"] is False
        assert "INVALID_SIGNATURE" in answer.json()["error"]


async def test_the_factory_with_a_body_of_no_use(town: Market) -> None:
    secret, order_id = town.stage.layout.secrets.factory_webhook, await factory_order(town)
    at = rfc3339(datetime.now(UTC))
    for body in (
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"order_id": 5}',
        factory_report(order_id, "ON_THE_MOON"),
        factory_report(order_id, notes="a\0b"),
        factory_report(order_id, timestamp="9999-12-31T23:59:59-12:00"),
        factory_report(order_id, more="nested").replace(b'"nested"', b"[" * 100_000),
        json.dumps({"order_id": order_id, "status": "SHIPPED", "timestamp": at[:-1]}).encode(),
    ):
        status, said = await factory_answers(town, body, signed(body, secret))
        assert (status, said["received"]) == (400, False), (body, said)


async def test_the_factory_about_an_order_nobody_placed(town: Market) -> None:
    body = factory_report("FAC-2026-999999")
    headers = signed(body, town.stage.layout.secrets.factory_webhook)
    status, said = await factory_answers(town, body, headers)
    assert (status, said["received"], said["order_id"]) == (404, False, "FAC-2026-999999")


async def test_the_factory_again_or_late_changes_nothing(town: Market) -> None:
    secret = town.stage.layout.secrets.factory_webhook
    before = town.stage.rows("SELECT count(*) FROM orders.webhook_inbox WHERE source = 'factory'")
    sent = (await delivered(town.one, "factory", FACTORY))["body"].encode()
    for _ in range(3):
        status, said = await factory_answers(town, sent, signed(sent, secret))
        assert (status, said["received"]) == (200, True)
    after = town.stage.rows("SELECT count(*) FROM orders.webhook_inbox WHERE source = 'factory'")
    assert after == before
    # An early step that comes when the car has long been handed over is kept, and moves nothing.
    late = factory_report(await factory_order(town))
    assert (await factory_answers(town, late, signed(late, secret)))[0] == 200

    at = datetime.fromisoformat(json.loads(late)["timestamp"])

    async def steps() -> list[dict[str, Any]]:
        timeline = await town.one.customer.get(f"/api/v1/orders/{town.one.order_id}/timeline")
        return [i for i in timeline["items"] if datetime.fromisoformat(i["at"]) == at]

    await wait_for("the late step in the file", steps, bool)
    order = await town.one.customer.get(f"/api/v1/orders/{town.one.order_id}")
    assert order["status"] == "OPERATIONAL"


@pytest.mark.parametrize("path", [SETTLEMENT, REFUND])
async def test_the_payment_gateway_that_cannot_be_believed(town: Market, path: str) -> None:
    body = settlement("tx-unknown")
    forged = {**money_headers(town, body), signing.SIGNATURE_HEADER: signing.sign(body, "guess")}
    await town.refused("POST", path, 401, "BAD_SIGNATURE", content=body, headers=forged)
    for minutes in (-6, 6):
        at = rfc3339(datetime.now(UTC) + timedelta(minutes=minutes))
        stale = money_headers(town, body, **{signing.TIMESTAMP_HEADER: at})
        await town.refused("POST", path, 401, "STALE_WEBHOOK", content=body, headers=stale)


@pytest.mark.parametrize("path", [SETTLEMENT, REFUND])
async def test_the_payment_gateway_with_a_body_of_no_use(town: Market, path: str) -> None:
    status = "SETTLED" if path == SETTLEMENT else "COMPLETED"
    more = {"refundId": "r", "status": status, "timestamp": rfc3339(datetime.now(UTC))}
    # A member that is of no interest, and that the inbox keeps with the rest all the same.
    useful = json.dumps({**json.loads(settlement("tx")), **more, "remark": "why"}).encode()
    spoilt = [useful.replace(b"why", text) for text in (b"a\\u0000b", b"\\ud800")]
    spoilt += [useful.replace(b'"why"', value) for value in (b"NaN", b"[" * 100_000)]
    for body in (b"", b"{", b"[]", b"\xff", b'{"status": "SETTLED"}', *spoilt):
        headers = money_headers(town, body)
        await town.refused("POST", path, 422, "INVALID_PAYLOAD", content=body, headers=headers)
    nameless = money_headers(town, useful)
    del nameless[signing.ID_HEADER]
    await town.refused("POST", path, 422, "WEBHOOK_ID_MISSING", content=useful, headers=nameless)


async def test_the_payment_gateway_again_changes_nothing(town: Market) -> None:
    def money() -> list[list[dict[str, Any]]]:
        return [
            town.stage.rows("SELECT * FROM billing.payment ORDER BY payment_id"),
            town.stage.rows("SELECT * FROM billing.payment_history ORDER BY id"),
            town.stage.rows("SELECT count(*) FROM billing.invoice"),
        ]

    await activation(town.one, town.bought, paymentState="SETTLED")
    sent = await delivered(town.one, "payments", SETTLEMENT)
    body, before = sent["body"].encode(), money()
    same_id = money_headers(town, body, **{signing.ID_HEADER: sent["webhook_id"]})
    new_id_ = money_headers(town, body)
    for headers in (same_id, new_id_):
        answer = await town.http.post(SETTLEMENT, content=body, headers=headers)
        assert (answer.status_code, answer.json()) == (200, {"received": True})
    # About a payment that is not ours: kept, tried again later, and nobody's money moves.
    stray = settlement("tx-of-somebody-else")
    answer = await town.http.post(SETTLEMENT, content=stray, headers=money_headers(town, stray))
    assert answer.status_code == 200
    assert money() == before


# --- the REST API -----------------------------------------------------------------------------


async def test_bodies_that_cannot_be_read(town: Market) -> None:
    token = await town.token(town.one.customer_mail)
    keyed = {"Idempotency-Key": str(new_id()), "Content-Type": "application/json"}
    for body in (b"{", b'{"vin": ', b"\xff\xfe", b"nonsense"):
        for path, own in ((LOGIN, None), (PURCHASE, token)):
            await town.refused(
                "POST", path, 400, "MALFORMED_JSON", token=own, content=body, headers=keyed
            )
    for body in ([], {}, {"vin": 5}, {**purchase_body(town, "x"), "price": 1}, "text", None):
        await town.refused(
            "POST", PURCHASE, 422, "INVALID_REQUEST", token=token, json=body, headers=keyed
        )
    for name in ("a\0b", "", "x" * 400):
        answer = await town.http.post(LOGIN, json={"username": name, "password": "guess"})
        assert answer.status_code in (401, 422), (name, answer.text)
    await town.refused("GET", "/api/v1/nowhere", 404, "NOT_FOUND", token=token)
    await town.refused("DELETE", LOGIN, 405, "METHOD_NOT_ALLOWED")


async def test_tokens_that_are_none(town: Market) -> None:
    path = f"/api/v1/orders/{town.one.order_id}"
    token = await town.token(town.one.customer_mail)
    principal = town.principal(token)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    expired = issue_access(town.api_settings, principal, long_ago)
    head, claims, signature = token.split(".")
    forged = f"{head}.{claims}.{signature[::-1]}"
    unsigned = f"eyJhbGciOiJub25lIn0.{claims}."
    for bad in (expired, forged, unsigned, "garbage", "a.b.c", token[:-4]):
        await town.refused("GET", path, 401, "TOKEN_INVALID", token=bad)
    await town.refused("GET", path, 401, "TOKEN_MISSING")
    refresh = {"refreshToken": "of-nobody"}
    await town.refused("POST", "/api/v1/auth/refresh", 401, "REFRESH_INVALID", json=refresh)
    assert (
        await town.http.get(path, headers={"Authorization": f"Bearer {token}"})
    ).status_code == 200


async def test_what_belongs_to_another(town: Market) -> None:
    token = await town.token(town.other.customer_mail)
    order, key = town.one.order_id, {"Idempotency-Key": str(new_id())}
    for method, path, status, code, body in (
        ("GET", f"/api/v1/orders/{order}", 404, "ORDER_NOT_FOUND", None),
        ("GET", f"/api/v1/orders/{order}/timeline", 404, "ORDER_NOT_FOUND", None),
        ("POST", f"/api/v1/orders/{order}/final-payment", 404, "ORDER_NOT_FOUND",
         {"paymentToken": "any"}),
        ("GET", f"/api/v1/activations/{town.bought}", 404, "ACTIVATION_NOT_FOUND", None),
        ("POST", f"/api/v1/services/{town.bought}/cancel", 404, "ACTIVATION_NOT_FOUND", {}),
        ("GET", f"/api/v1/mobile/vehicles/{town.one.vin}/status", 403, "NOT_OWNER", None),
        ("POST", f"/api/v1/mobile/vehicles/{town.one.vin}/link", 403, "NOT_OWNER", None),
        ("GET", f"/api/v1/services/catalog?vin={town.one.vin}", 403, "NOT_OWNER", None),
        ("POST", PURCHASE, 403, "NOT_OWNER", purchase_body(town, "any")),
    ):  # fmt: skip
        await town.refused(method, path, status, code, token=token, headers=key, json=body)
    assert (await activation(town.one, town.bought))["state"] == "ACTIVE"


async def test_a_role_that_may_not(town: Market) -> None:
    customer, sales = await town.token(town.one.customer_mail), await town.sales_token()
    key = {"Idempotency-Key": str(new_id())}
    for token, method, path in (
        (customer, "GET", ORDERS),
        (customer, "GET", "/api/v1/support/tickets"),
        (customer, "GET", "/api/v1/finance/payments"),
        (customer, "PUT", f"{ORDERS}/{town.one.order_id}/delivery"),
        (sales, "GET", "/api/v1/support/tickets"),
        (sales, "POST", f"/api/v1/support/activations/{town.bought}/retry"),
    ):
        body = {"action": "CHOOSE_PICKUP"} if method == "PUT" else None
        await town.refused(method, path, 403, "ROLE_FORBIDDEN", token=token, json=body)
    body = purchase_body(town, "any")
    await town.refused("POST", PURCHASE, 403, "ROLE_FORBIDDEN", token=sales, json=body, headers=key)


async def test_one_key_is_one_purchase_and_one_payment(town: Market) -> None:
    token = await town.token(town.one.customer_mail)
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(new_id())}
    body = purchase_body(town, await town.one.card_token())

    async def buy() -> str:
        answer = await town.http.post(PURCHASE, json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return answer.json()["activationId"]

    ids = {*await asyncio.gather(*(buy() for _ in range(4))), await buy()}
    assert len(ids) == 1
    (bought,) = ids
    await town.refused(
        "POST", PURCHASE, 409, "IDEMPOTENCY_CONFLICT", json={**body, "tier": "WEEK"},
        headers=headers,
    )  # fmt: skip
    await town.refused("POST", PURCHASE, 422, "IDEMPOTENCY_KEY_MISSING", token=token, json=body)
    await activation(town.one, bought, state="ACTIVE")
    assert await buy() == bought
    moves = await captured(town.one, bought)
    assert sorted(moves) == ["AUTHORISE", "CAPTURE"]
    paid = town.stage.rows("SELECT count(*) FROM billing.payment WHERE target = %s", bought)
    assert paid == [{"count": 1}]


async def test_a_purchase_that_cannot_be(town: Market) -> None:
    one, other = [await town.token(s.customer_mail) for s in (town.one, town.other)]
    card = await town.one.card_token()
    for token, more, status, code in (
        (one, {"vin": UNKNOWN_VIN}, 403, "NOT_OWNER"),
        (one, {"vin": "I" * 17}, 422, "INVALID_VIN"),
        (one, {"serviceId": "TIME_TRAVEL"}, 404, "SERVICE_NOT_FOUND"),
        (one, {"serviceId": "a\0b"}, 422, "INVALID_CONTENT"),
        (one, {"tier": "CENTURY"}, 422, "INVALID_REQUEST"),
        (one, {"serviceId": "PERF_BOOST_50"}, 409, "CONFLICT"),
        (one, {"serviceId": "HIGHWAY_AUTOPILOT", "paymentToken": "none"}, 402, "PAYMENT_DECLINED"),
        (other, {"vin": town.other.vin, "serviceId": "ADVANCED_CLIMATE"}, 422, "INCOMPATIBLE"),
    ):
        body = purchase_body(town, card, **more)
        key = {"Idempotency-Key": str(new_id())}
        await town.refused("POST", PURCHASE, status, code, token=token, json=body, headers=key)


async def test_guessing_passwords_is_slowed_down(town: Market) -> None:
    guess = {"username": "guessed@customers.example", "password": "guess"}
    # The count is of a minute of the clock, which may turn over once meanwhile.
    for _ in range(25):
        answer = await town.http.post(LOGIN, json=guess)
        if answer.status_code != 401:
            break
    answer = await town.refused("POST", LOGIN, 429, "RATE_LIMITED", json=guess)
    assert 0 < int(answer.headers["retry-after"]) <= 60
    assert await town.token("support@caas.example", STAFF_PASSWORD)


async def test_nothing_was_answered_with_our_own_fault(town: Market) -> None:
    answer = await town.http.get("/metrics")
    faults = [
        sample.labels
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "caas_api_requests_total" and sample.labels["status"].startswith("5")
    ]
    assert faults == []
