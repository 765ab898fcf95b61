"""What support sees and may order."""

from uuid import UUID

from core.contracts.jobs import RetryActivation
from core.contracts.states import Role
from core.ids import new_id
from tests.api.shop import VIN, Shop


async def failed(shop: Shop, *, ticket: str = "OPEN") -> str:
    activation_id = (await shop.buy()).json()["activationId"]
    await shop.engine_says(activation_id, "FAILED_NO_CHARGE")
    await shop.rows(
        "INSERT INTO support.ticket (ticket_id, activation_id, vin, service_code, kind, priority,"
        " state, package, first_contact_due, resolution_due) VALUES (%s, %s, %s, 'PERF_BOOST_50',"
        """ 'ACTIVATION', 'HIGH', %s, '{"attempts": [1]}', now(), now())""",
        new_id(), activation_id, VIN, ticket,
    )  # fmt: skip
    return activation_id


async def test_tickets_are_listed_and_read_by_number(shop: Shop):
    activation_id = await failed(shop)
    support = shop.token(Role.SUPPORT)
    listed = (await shop.client.get("/support/tickets?state=OPEN", headers=support)).json()
    (ticket,) = listed["tickets"]
    assert ticket["activationId"] == activation_id
    one = await shop.client.get(f"/support/tickets/{ticket['number']}", headers=support)
    assert one.json()["package"] == {"attempts": [1]}
    assert (await shop.client.get("/support/tickets/TCK-0", headers=support)).status_code == 404


async def test_a_failed_activation_is_tried_again_by_hand(shop: Shop):
    activation_id = await failed(shop)
    support = shop.token(Role.SUPPORT)
    answer = await shop.client.post(f"/support/activations/{activation_id}/retry", headers=support)
    assert answer.status_code == 202, answer.text
    (job,) = await shop.jobs(RetryActivation)
    assert job.activation_id == UUID(activation_id)
    assert job.actor.startswith("support:")


async def test_without_an_open_ticket_nothing_is_tried(shop: Shop):
    activation_id = await failed(shop, ticket="CLOSED")
    support = shop.token(Role.SUPPORT)
    answer = await shop.client.post(f"/support/activations/{activation_id}/retry", headers=support)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "NOT_RETRYABLE")
    missing = await shop.client.post(f"/support/activations/{new_id()}/retry", headers=support)
    assert missing.status_code == 404
    assert not await shop.jobs(RetryActivation)


async def test_customers_see_none_of_it(shop: Shop):
    for path in ("/support/tickets", f"/support/vehicles/{VIN}/timeline"):
        assert (await shop.client.get(path, headers=shop.customer)).status_code == 403
        assert (await shop.client.get(path)).status_code == 401


async def test_a_cars_timeline_holds_history_attempts_and_commands(shop: Shop):
    activation_id = await failed(shop)
    command = new_id()
    await shop.rows(
        "INSERT INTO ota.activation_history (activation_id, at, from_state, event, to_state, actor)"
        " VALUES (%s, now(), 'QUEUED', 'START', 'ATTEMPTING', 'engine')",
        activation_id,
    )
    await shop.rows(
        "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')", VIN
    )
    await shop.rows(
        "SELECT gateway.admit_command_v1(%s, %s, 'CONFIGURE', 'ota', NULL, '{}', now(), 10)",
        command,
        VIN,
    )
    answer = await shop.client.get(
        f"/support/vehicles/{VIN}/timeline", headers=shop.token(Role.SUPPORT)
    )
    assert answer.status_code == 200, answer.text
    kinds = {entry["kind"]: entry["what"] for entry in answer.json()["entries"]}
    assert kinds == {"activation": "ATTEMPTING", "command": "CONFIGURE"}
