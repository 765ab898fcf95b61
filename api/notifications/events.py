"""Which event goes by which channels: the table of DOMAIN 15, once."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from core.contracts.bus import DisplayLevel


class Channel(StrEnum):
    """E, P, S, V and A of DOMAIN 15."""

    EMAIL = "EMAIL"
    PUSH = "PUSH"
    SMS = "SMS"
    DISPLAY = "DISPLAY"
    IN_APP = "IN_APP"


E, P, S, V, A = Channel.EMAIL, Channel.PUSH, Channel.SMS, Channel.DISPLAY, Channel.IN_APP


@dataclass(frozen=True, slots=True)
class Rule:
    """Channels of an event; ``staff`` are the roles that get an e-mail of it as well."""

    channels: tuple[Channel, ...]
    staff: tuple[str, ...] = ()
    # The message holds a secret: it is sent, but not kept.
    secret: bool = False
    level: DisplayLevel = DisplayLevel.INFO


EVENTS: Mapping[str, Rule] = MappingProxyType(
    {
        # E
        "credentials": Rule((E,), secret=True),
        "registration_delayed": Rule((E,)),
        "factory_problem": Rule((E,)),
        "ticket_created": Rule((E,), staff=("SUPPORT",)),
        "cancellation": Rule((E,)),
        "refund": Rule((E,)),
        "withdrawal_done": Rule((E,)),
        # E P
        "order_placed": Rule((E, P)),
        "manufacturing_step": Rule((E, P)),
        "payment_confirmed": Rule((E, P)),
        "registered": Rule((E, P)),
        "pickup_reminder": Rule((E, P)),
        "expiring": Rule((E, P)),
        "expired": Rule((E, P)),
        # E S
        "final_payment_failed": Rule((E, S)),
        # E P S
        "vehicle_arrived": Rule((E, P, S)),
        "payment_declined": Rule((E, P, S)),
        "in_transit": Rule((E, P, S)),
        "delivery_failed": Rule((E, P, S)),
        "manual_success": Rule((E, P, S)),
        # E P V
        "activation_started": Rule((E, P, V)),
        "activation_success": Rule((E, P, V)),
        # P V
        "app_linked": Rule((P, V)),
        "activation_deferred": Rule((P, V)),
        # E P A
        "activation_failed": Rule((E, P, A), staff=("SUPPORT",)),
        "blocked_by_maintenance": Rule((E, P, A)),
        # E + phone: the call is made by support, who is told by e-mail.
        "permanent_failure": Rule((E,), staff=("SUPPORT",)),
        # Staff only
        "payment_alert": Rule((), staff=("OPERATIONS",)),
    }
)


# A new event must not be lost because its row is missing: by e-mail, and in the app.
DEFAULT = Rule((E, A))
