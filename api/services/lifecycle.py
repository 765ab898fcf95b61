"""The states of a purchase (DOMAIN 6), as far as they are the buyer's and not the car's."""

from enum import StrEnum

from core.machine import Machine


class PurchaseState(StrEnum):
    """AVAILABLE is the catalogue's, before and after a purchase; a row begins at its check."""

    MAINTENANCE_CHECK = "MAINTENANCE_CHECK"
    BLOCKED = "BLOCKED"
    PURCHASABLE = "PURCHASABLE"
    PAYMENT = "PAYMENT"
    QUEUED = "QUEUED"


class PurchaseEvent(StrEnum):
    """What moves a purchase."""

    DENIED = "DENIED"
    ALLOWED = "ALLOWED"
    PAY = "PAY"
    AUTHORISED = "AUTHORISED"
    REJECTED = "REJECTED"


PURCHASE: Machine[PurchaseState, PurchaseEvent] = Machine(
    "purchase",
    [
        (PurchaseState.MAINTENANCE_CHECK, PurchaseEvent.DENIED, PurchaseState.BLOCKED),
        (PurchaseState.MAINTENANCE_CHECK, PurchaseEvent.ALLOWED, PurchaseState.PURCHASABLE),
        (PurchaseState.PURCHASABLE, PurchaseEvent.PAY, PurchaseState.PAYMENT),
        (PurchaseState.PAYMENT, PurchaseEvent.AUTHORISED, PurchaseState.QUEUED),
        # Rejected: the option can be bought again at once, by a new purchase.
        (PurchaseState.PAYMENT, PurchaseEvent.REJECTED, PurchaseState.PURCHASABLE),
    ],
    initial=PurchaseState.MAINTENANCE_CHECK,
    # From QUEUED on the activation says how it goes; a blocked one is asked for anew.
    final=[PurchaseState.QUEUED, PurchaseState.BLOCKED],
)
