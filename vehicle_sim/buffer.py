"""Telemetry a vehicle keeps until the platform's ``stored`` covers it (BUS), without I/O."""

from collections.abc import Iterable
from dataclasses import dataclass

from core.contracts.bus import Stored


@dataclass(slots=True)
class Kept:
    """One batch: its name (``boot``, ``n``), its bytes, and when this connection sent it."""

    boot: int
    n: int
    payload: bytes
    sent_at: float | None = None


class TelemetryBuffer:
    """Batches in the order they were made; when full, the oldest go first."""

    def __init__(self, limit: int, kept: Iterable[Kept] = ()) -> None:
        self._limit = limit
        self._kept: dict[tuple[int, int], Kept] = {}
        self.dropped = 0
        for batch in kept:
            self.add(batch)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def batches(self) -> list[Kept]:
        return list(self._kept.values())

    def add(self, batch: Kept) -> None:
        """Keep ``batch``; counts what had to go for it."""
        self._kept[(batch.boot, batch.n)] = batch
        while len(self._kept) > self._limit:
            del self._kept[next(iter(self._kept))]
            self.dropped += 1

    def next_unsent(self) -> Kept | None:
        """The oldest batch this connection has not sent."""
        return next((batch for batch in self._kept.values() if batch.sent_at is None), None)

    def receipt(self, stored: Stored) -> bool:
        """Forget what is stored, send again what is missing; whether anything changed."""
        missing = set(stored.missing)
        covered = [
            name
            for name in self._kept
            if name[0] == stored.boot and name[1] <= stored.n and name[1] not in missing
        ]
        for name in covered:
            del self._kept[name]
        again = [self._kept[key] for n in missing if (key := (stored.boot, n)) in self._kept]
        for batch in again:
            batch.sent_at = None
        return bool(covered or again)

    def new_connection(self) -> None:
        """A broker can lose what it acknowledged: everything without a receipt goes out again."""
        for batch in self._kept.values():
            batch.sent_at = None

    def silence_left(self, now: float, resend_s: float) -> float | None:
        """Seconds until the oldest batch has waited ``resend_s`` for its receipt; None: nothing."""
        oldest = next(iter(self._kept.values()), None)
        if oldest is None:
            return None
        return resend_s if oldest.sent_at is None else max(0.0, oldest.sent_at + resend_s - now)

    def nudge(self, now: float, resend_s: float) -> bool:
        """After a long silence the oldest batch goes out again; whether it does."""
        oldest = next(iter(self._kept.values()), None)
        if oldest is None or oldest.sent_at is None or oldest.sent_at + resend_s > now:
            return False
        oldest.sent_at = None
        return True
