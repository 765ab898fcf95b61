"""Which partner misbehaves, how, and for how many calls."""

from collections.abc import Collection
from dataclasses import dataclass

from partner_sims.store import Store

PARTNERS = ("factory", "payments", "vss", "authority", "mail")
# Applied to any call, before the partner's own code (`lost`: after it).
TRANSPORT_MODES = ("down", "slow", "error", "malformed", "lost")
# Applied by the partner's own code, where they mean something.
BUSINESS_MODES = {
    "factory": ("decline", "quality_fail", "delayed"),
    "payments": ("decline", "pending", "settle_fail", "settle_partial", "settle_never", "deny"),
    "vss": ("decline",),
    "authority": ("decline", "review"),
    "mail": ("decline",),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One partner's misbehaviour; ``remaining`` None = until changed."""

    partner: str
    mode: str
    delay_s: float
    remaining: int | None
    match: str | None
    code: str | None


class Faults:
    """The knobs, kept in the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> list[Fault]:
        return self._store.all(Fault, "fault_list")

    def put(self, fault: Fault) -> None:
        """Set a partner's fault; mode ``ok`` clears it."""
        self._store.run("fault_delete", partner=fault.partner)
        if fault.mode != "ok":
            self._store.run(
                "fault_insert",
                partner=fault.partner,
                mode=fault.mode,
                delay_s=fault.delay_s,
                remaining=fault.remaining,
                match=fault.match,
                code=fault.code,
            )

    def clear(self) -> None:
        self._store.run("fault_clear")

    def take(self, partner: str, modes: Collection[str], text: str) -> Fault | None:
        """The fault to apply to this call, counted down; None if none of ``modes`` applies.

        Call it inside a transaction.
        """
        fault = self._store.one(Fault, "fault_get", partner=partner)
        if fault is None or fault.mode not in modes or (fault.match or "") not in text:
            return None
        if fault.remaining is not None:
            if fault.remaining <= 1:
                self._store.run("fault_delete", partner=partner)
            else:
                self._store.run("fault_count_down", partner=partner)
        return fault
