"""What of an order is not its customer's business."""

import httpx
import psycopg

from api.deps import ApiDeps
from api.identity.principal import Principal
from api.identity.tokens import issue_access
from api.seed import seed
from core.contracts.states import Role
from core.ids import new_id

SALE = {
    "customer": {
        "name": "Eva",
        "email": "eva@example.com",
        "phone": "+34 600 000 000",
        "address": {"street": "s", "city": "c", "postalCode": "1", "country": "ES"},
        "taxId": "12345678Z",
    },
    "platform": "AURORA",
    "plan": {"color": "blue", "interior": "black"},
    "deliveryAddress": {"street": "s", "city": "c", "postalCode": "1", "country": "ES"},
}
PASSWORD = "a-demo-password"


async def test_the_factorys_error_is_for_staff(
    client: httpx.AsyncClient, deps: ApiDeps, database: str
) -> None:
    async with deps.database.transaction() as conn:
        seeded = await seed(conn, password=PASSWORD, now=deps.clock.now())
    login = await client.post(
        "/auth/login", json={"username": seeded.logins["SALES"], "password": PASSWORD}
    )
    sales = {"Authorization": f"Bearer {login.json()['accessToken']}"}
    order = (await client.post("/intranet/orders", json=SALE, headers=sales)).json()
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as owner:
        await owner.execute("UPDATE orders.customer_order SET factory_error = 'our token is bad'")
    caller = Principal(new_id(), Role.CUSTOMER, customer_id=order["customerId"])
    token = issue_access(deps.settings.api, caller, deps.clock.now())
    customer = {"Authorization": f"Bearer {token}"}
    path = f"/orders/{order['orderId']}"
    assert (await client.get(path, headers=sales)).json()["factoryError"] == "our token is bad"
    assert (await client.get(path, headers=customer)).json()["factoryError"] is None
    assert "our token is bad" not in (await client.get("/expediente", headers=customer)).text
