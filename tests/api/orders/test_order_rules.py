"""The sale's tables and pure rules, without any fixture."""

from decimal import Decimal

import pytest

from api.orders import rules
from api.orders.authority import NoAnswer, Papers, Refused, UnderReview, read
from api.orders.lifecycle import (
    DELIVERY,
    ORDER,
    REGISTRATION,
    DeliveryEvent,
    DeliveryState,
    OrderEvent,
    OrderState,
)
from api.orders.rules import Authority, DeliveryAction, OptionOnPlatform
from core.errors import IllegalTransition
from core.money import Money


@pytest.mark.parametrize("machine", [ORDER, REGISTRATION, DELIVERY], ids=lambda m: m.name)
def test_every_event_has_one_target(machine) -> None:
    targets: dict[object, set[object]] = {}
    for (_, event), target in machine.table.items():
        targets.setdefault(event, set()).add(target)
    assert all(len(found) == 1 for found in targets.values())


def test_nothing_is_delivered_before_registration() -> None:
    for state in OrderState:
        assert ORDER.allows(state, OrderEvent.DELIVERY_ARRANGED) == (state is OrderState.REGISTERED)


def test_an_ended_sale_takes_no_payment() -> None:
    with pytest.raises(IllegalTransition):
        ORDER.next(OrderState.CANCELLED_PAYMENT_FAILURE, OrderEvent.FINAL_CONFIRMED)


def test_the_price_is_the_base_less_the_discount() -> None:
    assert rules.total_price(Money(4_200_000), Decimal("5")) == Money(3_990_000)


def test_options_are_checked_against_platform_and_firmware() -> None:
    known = [
        OptionOnPlatform("A", mapped=True, min_firmware=None),
        OptionOnPlatform("B", mapped=True, min_firmware="2.10"),
        OptionOnPlatform("C", mapped=False, min_firmware=None),
    ]
    assert set(rules.unfit_options(["A", "B", "C", "D"], known, "2.9.1")) == {"B", "C", "D"}
    assert set(rules.unfit_options(["A", "B"], known, "2.10.0")) == set()


@pytest.mark.parametrize(
    ("status", "factory", "events"),
    [
        (OrderState.ORDERED, "QUEUED", ()),
        (OrderState.ORDERED, "DELAYED", ()),
        (OrderState.ORDERED, "ASSEMBLY_COMPLETE", (OrderEvent.PRODUCTION_STARTED,)),
        (
            OrderState.ORDERED,
            "ARRIVED_AT_DEALERSHIP",
            (OrderEvent.PRODUCTION_STARTED, OrderEvent.ARRIVED_AT_DEALERSHIP),
        ),
        (OrderState.IN_PRODUCTION, "IN_PRODUCTION", ()),
        (OrderState.PAID, "ARRIVED_AT_DEALERSHIP", ()),
    ],
)
def test_factory_steps_move_an_order(status, factory, events) -> None:
    assert rules.order_events(status, factory) == events


def test_authorities_by_country() -> None:
    assert [rules.authority_for(country) for country in ("ES", "FR", "DE", "IT")] == [
        Authority.DGT,
        Authority.ANTS,
        Authority.KBA,
        Authority.GENERIC,
    ]


def test_one_word_of_staff_can_be_two_steps() -> None:
    assert rules.delivery_events(DeliveryState.SCHEDULED, DeliveryAction.SCHEDULE_PICKUP) == (
        DeliveryEvent.PICKUP_CHOSEN,
        DeliveryEvent.APPOINTMENT,
    )
    assert rules.delivery_events(DeliveryState.ATTEMPTED, DeliveryAction.HANDOVER) == (
        DeliveryEvent.HANDED_OVER,
    )


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (202, {"status": "UNDER_REVIEW", "registration_id": "r"}, UnderReview),
        (422, {"error_code": "INVALID_DNI"}, Refused),
        (409, {"error_code": "ALREADY_REGISTERED"}, Refused),
        (401, {}, Refused),
        (404, {}, NoAnswer),
        (
            200,
            {
                "status": "REGISTERED",
                "license_plate": "1234-BCD",
                "registration_number": "n",
                "registration_date": "2026-03-02",
            },
            Papers,
        ),
    ],
)
def test_an_authoritys_answer_is_read(status, answer, kind) -> None:
    assert isinstance(read(status, answer), kind)
