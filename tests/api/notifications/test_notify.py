"""Messages by every channel, once, in the reader's language (DOMAIN 15)."""

from dataclasses import replace
from typing import Any

import pytest

from api.identity import service as identity
from api.notifications import service
from api.notifications.events import EVENTS, Channel
from api.notifications.settings import NotificationSettings
from api.notifications.templates import render
from core.contracts.jobs import Notify, ShowOnDisplay
from core.errors import Invalid, Unavailable
from tests.api.shop import VIN, Shop


def job(shop: Shop, event: str, **more: Any) -> Notify:
    values: dict[str, Any] = {"dedupe_key": f"{event}:1", "customer_id": shop.customer_id,
                              "vin": VIN, "data": {"service_code": "PERF_BOOST_50"}}  # fmt: skip
    return Notify(event=event, **{**values, **more})


async def channels(shop: Shop) -> list[tuple[str, str, str]]:
    rows = await shop.rows(
        "SELECT channel, audience, state FROM notifications.message ORDER BY channel, audience"
    )
    return [(row["channel"], row["audience"], row["state"]) for row in rows]


async def test_a_final_failure_says_not_charged_by_mail_push_and_in_the_app(shop: Shop):
    notice = job(
        shop, "activation_failed", data={"service_code": "PERF_BOOST_50", "ticket_number": "TCK-7"}
    )
    await shop.run_job(notice)
    await shop.run_job(notice)
    assert await channels(shop) == [
        ("EMAIL", "SUPPORT", "SENT"),
        ("EMAIL", "customer", "SENT"),
        ("IN_APP", "customer", "SENT"),
        ("PUSH", "customer", "SENT"),
    ]
    (mail,) = shop.mails(to="eva@example.com")
    assert "not charged" in mail["subject"]
    assert "Power +50 %" in mail["subject"]
    assert "TCK-7" in mail["text"]
    assert VIN in mail["text"]
    assert len(shop.mails(to="support@caas.example")) == 1
    assert len(shop.mails(channel="push")) == 1
    listed = (await shop.client.get("/notifications", headers=shop.customer)).json()
    assert [item["event"] for item in listed["notifications"]] == ["activation_failed"]


async def test_the_car_shows_a_short_text_once(shop: Shop):
    for _ in range(2):
        await shop.run_job(job(shop, "activation_success"))
    (display,) = await shop.jobs(ShowOnDisplay)
    assert (display.vin, display.text) == (VIN, "Power +50 % is on")


async def test_a_dead_mail_server_delays_the_mail_and_nothing_else(shop: Shop):
    shop.partners.fault("mail", "down")
    notice = job(shop, "activation_failed")
    with pytest.raises(Unavailable):
        await shop.run_job(notice)
    assert ("IN_APP", "customer", "SENT") in await channels(shop)
    assert ("EMAIL", "customer", "PENDING") in await channels(shop)
    shop.partners.http.delete("/faults")
    await shop.run_job(notice)
    assert {state for _, _, state in await channels(shop)} == {"SENT"}
    assert len(shop.mails(to="eva@example.com")) == 1
    assert len(shop.mails(channel="push")) == 1


async def test_an_address_that_is_refused_for_good_is_not_waited_for(shop: Shop):
    shop.partners.fault("mail", "decline")
    with pytest.raises(Invalid):
        await shop.run_job(job(shop, "activation_failed"))
    assert ("PUSH", "customer", "SENT") in await channels(shop)


async def test_credentials_are_in_the_mail_and_nowhere_else(shop: Shop):
    async with shop.deps.database.transaction() as conn:
        user_id = await identity.create_customer_account(
            conn, customer_id=shop.customer_id, email="eva@example.com"
        )
    await shop.run_job(job(shop, "credentials", data={"user_id": str(user_id)}))
    (mail,) = shop.mails(to="eva@example.com")
    password = next(
        line.split(": ", 1)[1] for line in mail["text"].splitlines() if "password:" in line
    )
    answer = await shop.client.post(
        "/auth/login", json={"username": "eva@example.com", "password": password}
    )
    assert answer.status_code == 200, answer.text
    rows = await shop.rows("SELECT m::text AS row FROM notifications.message m")
    assert all(password not in row["row"] for row in rows)


async def test_without_a_provider_a_channel_is_recorded_as_missing(shop: Shop):
    settings = replace(shop.deps.settings, notify=NotificationSettings.model_validate({}))
    await service.notify(replace(shop.deps, settings=settings), job(shop, "in_transit"))
    assert await channels(shop) == [
        ("EMAIL", "customer", "SENT"),
        ("PUSH", "customer", "NO_CHANNEL"),
        ("SMS", "customer", "NO_CHANNEL"),
    ]


async def test_a_spaniard_reads_spanish(shop: Shop):
    await shop.rows("UPDATE customers.customer SET language = 'es'")
    await shop.run_job(job(shop, "activation_success"))
    (mail,) = shop.mails(to="eva@example.com")
    assert "está activo" in mail["subject"]


async def test_an_event_nobody_foresaw_is_still_told(shop: Shop):
    await shop.run_job(job(shop, "something_new"))
    (mail,) = shop.mails(to="eva@example.com")
    assert "something new" in mail["text"]


@pytest.mark.parametrize("language", ["en", "es"])
@pytest.mark.parametrize("event", sorted(EVENTS))
def test_every_event_has_its_text_in_both_languages(event: str, language: str):
    data = {"name": "Eva", "service": "Power", "vin": VIN, "amount": "EUR 1.00",
            "order_number": "N-1", "status": "SHIPPED", "license_plate": "1234-ABC",
            "ticket_number": "TCK-1", "payment_id": "p", "eligible": True}  # fmt: skip
    text = render(event, language, data)
    general = render("_none", language, {**data})
    assert text.subject
    assert text.subject != general.subject
    assert len(text.body) > 20
    if event in ("activation_failed", "blocked_by_maintenance"):
        assert "not charged" in text.subject


def test_a_subject_is_one_line_whatever_the_data_holds():
    text = render("registered", "en", {"license_plate": "X\r\nBcc: all@example.com"})
    assert "\n" not in text.subject
    assert "\r" not in text.subject


def test_the_events_of_the_domain_go_by_its_channels():
    def letters(event: str) -> str:
        names = {"EMAIL": "E", "PUSH": "P", "SMS": "S", "DISPLAY": "V", "IN_APP": "A"}
        return "".join(names[Channel(channel)] for channel in EVENTS[event].channels)

    assert {event: letters(event) for event in ("credentials", "order_placed", "vehicle_arrived",
            "activation_started", "app_linked", "activation_failed", "payment_declined")} == {
        "credentials": "E", "order_placed": "EP", "vehicle_arrived": "EPS",
        "activation_started": "EPV", "app_linked": "PV", "activation_failed": "EPA",
        "payment_declined": "EPS",
    }  # fmt: skip
