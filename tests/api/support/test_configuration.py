"""What support sees of a car's configuration, drifts and connectivity."""

from core.contracts.states import Role
from core.ids import new_id
from tests.api.shop import VIN, Shop


async def enrol(shop: Shop) -> None:
    await shop.rows(
        "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')", VIN
    )


async def test_wanted_reported_and_the_difference(shop: Shop):
    await enrol(shop)
    await shop.rows(
        "SELECT gateway.want_v1(%s, %s, 'PERF_BOOST_50: active', now())",
        VIN,
        '[{"module":"ENGINE_CONTROL","parameter":"power_mode","value":"HIGH"}]',
    )
    await shop.rows(
        "UPDATE gateway.vehicle_state SET reported_values = %s, reported_seq = 3,"
        " reported_at = now() WHERE vin = %s",
        '[{"module":"ENGINE_CONTROL","parameter":"power_mode","value":"NORMAL"}]',
        VIN,
    )
    await shop.rows(
        "INSERT INTO gateway.drift (drift_id, vin, opened_at, cause, state, wanted_version,"
        " difference, firmware, report_seq, report_at, reason, ticket_number)"
        " VALUES (%s, %s, now(), 'NOT_FOLLOWED', 'FAILED', 1, '[]', '2.4.1', 3, now(), 'BUSY',"
        " 'TCK-1001')",
        new_id(), VIN,
    )  # fmt: skip
    support = shop.token(Role.SUPPORT)
    answer = await shop.client.get(f"/support/vehicles/{VIN}/configuration", headers=support)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["version"], body["cause"]) == (1, "PERF_BOOST_50: active")
    assert body["difference"] == [
        {"module": "ENGINE_CONTROL", "parameter": "power_mode", "wanted": "HIGH",
         "reported": "NORMAL"},
    ]  # fmt: skip
    [drift] = body["drifts"]
    assert (drift["state"], drift["ticketNumber"]) == ("FAILED", "TCK-1001")
    timeline = await shop.client.get(f"/support/vehicles/{VIN}/timeline", headers=support)
    assert "drift" in [entry["kind"] for entry in timeline.json()["entries"]]


async def test_connectivity(shop: Shop):
    await enrol(shop)
    await shop.rows(
        "INSERT INTO gateway.connectivity_log (vin, at, from_presence, to_presence, reason)"
        " VALUES (%s, now(), 'ONLINE', 'OFFLINE', 'WILL')",
        VIN,
    )
    await shop.rows(
        "UPDATE gateway.vehicle_state SET flaps = 7, unstable_until = now() + interval '1 hour'"
        " WHERE vin = %s",
        VIN,
    )
    support = shop.token(Role.SUPPORT)
    answer = await shop.client.get(f"/support/vehicles/{VIN}/connectivity", headers=support)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["unstable"], body["flaps"]) == (True, 7)
    assert [entry["reason"] for entry in body["entries"]] == ["WILL"]


async def test_a_ticket_of_a_drift_is_listed(shop: Shop):
    drift = new_id()
    await shop.rows(
        "INSERT INTO support.ticket (ticket_id, drift_id, vin, service_code, kind, priority,"
        " package, first_contact_due, resolution_due) VALUES (%s, %s, %s, 'PERF_BOOST_50',"
        " 'DRIFT', 'HIGH', '{}', now(), now())",
        new_id(), drift, VIN,
    )  # fmt: skip
    support = shop.token(Role.SUPPORT)
    [ticket] = (await shop.client.get("/support/tickets", headers=support)).json()["tickets"]
    assert (ticket["kind"], ticket["driftId"]) == ("DRIFT", str(drift))
    assert ticket["activationId"] is None


async def test_an_unknown_car_and_a_stranger_to_support(shop: Shop):
    for what in ("configuration", "connectivity"):
        path = f"/support/vehicles/VF1AURRA000000099/{what}"
        assert (await shop.client.get(path, headers=shop.token(Role.SUPPORT))).status_code == 404
        assert (await shop.client.get(path, headers=shop.token(Role.FINANCE))).status_code == 403
