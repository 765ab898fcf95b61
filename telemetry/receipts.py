"""The end-to-end receipt (`stored` of BUS): what it may say, and when it is due; no I/O."""

from collections import OrderedDict
from collections.abc import Iterable

from core.contracts.bus import Stored

# Half-open, sorted, not touching: as PostgreSQL's multiranges are.
Ranges = Iterable[tuple[int, int]]
# Of one vehicle: a unit that takes a new boot number for each message must not fill the memory.
BOOTS_WAITING_MAX = 100


def receipt_of(boot: int, received: Ranges, missing_max: int) -> Stored | None:
    """The receipt for the messages of ``boot`` in ``received``.

    It must name every missing message below its ``n``, or a vehicle would forget one that never
    arrived; with more than ``missing_max`` of them it covers less; None where it covers nothing.
    """
    missing: list[int] = []
    covered: int | None = None
    following = 0
    for lower, upper in received:
        if len(missing) + lower - following > missing_max:
            break
        missing.extend(range(following, lower))
        covered, following = upper - 1, upper
    return None if covered is None else Stored(boot=boot, n=covered, missing=missing)


class ReceiptQueue:
    """Receipts that wait for their turn: at most one to a vehicle in ``every_s``.

    A newer receipt of the same boot replaces the one that waits. Times are the caller's, in
    seconds, of any clock that does not go back.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._waiting: dict[str, OrderedDict[int, Stored]] = {}
        self._sent: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, vin: str, stored: Stored) -> None:
        """Put a receipt in, in the place of an older one of its boot."""
        boots = self._waiting.setdefault(vin, OrderedDict())
        boots[stored.boot] = stored
        if len(boots) > BOOTS_WAITING_MAX:
            # Its vehicle sends that boot's messages again, and gets the receipt then.
            boots.popitem(last=False)

    def add_again(self, vin: str, stored: Stored) -> None:
        """Put back one that could not be sent, unless a newer one has come."""
        self._waiting.setdefault(vin, OrderedDict()).setdefault(stored.boot, stored)

    def take_due(self, now: float, *, everything: bool = False) -> list[tuple[str, Stored]]:
        """Take out what may be sent now; with ``everything`` the wait does not count."""
        while self._sent and next(iter(self._sent.values())) <= now - self._every_s:
            self._sent.popitem(last=False)
        due = [vin for vin in self._waiting if everything or vin not in self._sent]
        return [(vin, stored) for vin in due for stored in self._take(vin, now, everything)]

    def _take(self, vin: str, now: float, everything: bool) -> list[Stored]:
        boots = self._waiting[vin]
        # One of several boots: the others wait for the vehicle's next turn.
        taken = [boots.popitem(last=False)[1] for _ in range(len(boots) if everything else 1)]
        if not boots:
            del self._waiting[vin]
        self._sent[vin] = now
        self._sent.move_to_end(vin)
        return taken
