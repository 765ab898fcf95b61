"""Pure decisions of the sale: price, deposit, factory steps, authorities, delivery (DOMAIN 10)."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from api.orders.lifecycle import DeliveryEvent, DeliveryState, OrderEvent, OrderState
from core.money import Money

# Factory statuses in their order. DELAYED has no place: it only changes the date.
FACTORY_STEPS = (
    "QUEUED",
    "ORDERED",
    "IN_PRODUCTION",
    "ASSEMBLY_COMPLETE",
    "QUALITY_CHECK",
    "READY_FOR_SHIPMENT",
    "SHIPPED",
    "ARRIVED_AT_DEALERSHIP",
)
DELAYED = "DELAYED"
ARRIVED = "ARRIVED_AT_DEALERSHIP"
FACTORY_STATUSES = frozenset({*FACTORY_STEPS, DELAYED})
_NOT_STARTED = frozenset({"QUEUED", "ORDERED", DELAYED})


@dataclass(frozen=True, slots=True)
class OptionOnPlatform:
    """What the catalogue says of an option on the platform of a sale."""

    code: str
    mapped: bool  # the platform has the hardware
    min_firmware: str | None


def total_price(base: Money, vehicle_percent: Decimal) -> Money:
    """The base price less the plan's discount; plan options cost nothing (DOMAIN 4, Plan)."""
    return base - base.percent(vehicle_percent)


def unfit_options(
    wanted: Iterable[str], known: Collection[OptionOnPlatform], firmware: str
) -> dict[str, str]:
    """Option code to why the platform cannot have it; empty where all fit."""
    by_code = {option.code: option for option in known}
    unfit: dict[str, str] = {}
    for code in wanted:
        option = by_code.get(code)
        if option is None:
            unfit[code] = "no such option"
        elif not option.mapped:
            unfit[code] = "the platform does not have it"
        elif option.min_firmware and _version(firmware) < _version(option.min_firmware):
            unfit[code] = f"needs firmware {option.min_firmware}"
    return unfit


def order_events(status: OrderState, factory_status: str) -> tuple[OrderEvent, ...]:
    """What a factory status does to an order, catching up where a webhook was missed."""
    events: list[OrderEvent] = []
    if status is OrderState.ORDERED and factory_status not in _NOT_STARTED:
        events.append(OrderEvent.PRODUCTION_STARTED)
        status = OrderState.IN_PRODUCTION
    if status is OrderState.IN_PRODUCTION and factory_status == ARRIVED:
        events.append(OrderEvent.ARRIVED_AT_DEALERSHIP)
    return tuple(events)


class Authority(StrEnum):
    """Who registers a vehicle; the adapter is chosen by the customer's country."""

    DGT = "es"
    ANTS = "fr"
    KBA = "de"
    GENERIC = "generic"


def authority_for(country: str) -> Authority:
    """ES, FR and DE have their own; all others go the generic way."""
    try:
        return Authority(country.lower())
    except ValueError:
        return Authority.GENERIC


class DeliveryAction(StrEnum):
    """What staff report of a delivery."""

    SET_TRANSPORT = "SET_TRANSPORT"
    CHOOSE_PICKUP = "CHOOSE_PICKUP"
    SCHEDULE_PICKUP = "SCHEDULE_PICKUP"
    ARRIVED = "ARRIVED"
    HANDOVER = "HANDOVER"
    ABSENT = "ABSENT"
    INACCESSIBLE = "INACCESSIBLE"
    RETURNED = "RETURNED"
    REDELIVER = "REDELIVER"
    IDENTITY_NOT_OK = "IDENTITY_NOT_OK"


_ACTION_EVENTS = {
    DeliveryAction.SET_TRANSPORT: DeliveryEvent.TRANSPORT_CHOSEN,
    DeliveryAction.CHOOSE_PICKUP: DeliveryEvent.PICKUP_CHOSEN,
    DeliveryAction.ARRIVED: DeliveryEvent.ARRIVED,
    DeliveryAction.ABSENT: DeliveryEvent.ABSENT,
    DeliveryAction.INACCESSIBLE: DeliveryEvent.INACCESSIBLE,
    DeliveryAction.RETURNED: DeliveryEvent.RETURNED,
    DeliveryAction.REDELIVER: DeliveryEvent.REDELIVERY_AGREED,
    DeliveryAction.IDENTITY_NOT_OK: DeliveryEvent.IDENTITY_NOT_OK,
}


def delivery_events(state: DeliveryState, action: DeliveryAction) -> tuple[DeliveryEvent, ...]:
    """The table's events that one action of staff stands for."""
    if action is DeliveryAction.SCHEDULE_PICKUP:
        if state is DeliveryState.SCHEDULED:
            return (DeliveryEvent.PICKUP_CHOSEN, DeliveryEvent.APPOINTMENT)
        return (DeliveryEvent.APPOINTMENT,)
    if action is DeliveryAction.HANDOVER:
        at_door = state is DeliveryState.ATTEMPTED
        return (DeliveryEvent.HANDED_OVER if at_door else DeliveryEvent.IDENTITY_OK,)
    return (_ACTION_EVENTS[action],)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())
