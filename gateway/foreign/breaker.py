"""A breaker in front of an API that fails (DOMAIN 7): pure, one for each API and replica."""

from datetime import datetime, timedelta
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Breaker:
    """CLOSED → (failures in a window) OPEN → (its time over) HALF_OPEN, one probe → CLOSED or OPEN.

    Each replica finds out for itself: what is lost by that is a few calls, and a shared state would
    cost a write each.
    """

    def __init__(self, *, failures: int, window_s: float, open_s: float) -> None:
        self._most = failures
        self._window = timedelta(seconds=window_s)
        self._open = timedelta(seconds=open_s)
        self._failed: list[datetime] = []
        self._opened_at: datetime | None = None
        self._probing_since: datetime | None = None

    def state(self, now: datetime) -> BreakerState:
        """As it stands at ``now``."""
        if self._opened_at is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._opened_at + self._open else BreakerState.HALF_OPEN

    def retry_at(self, now: datetime) -> datetime | None:
        """None where a call may go out now (and counts as the probe), else when to ask again."""
        match self.state(now):
            case BreakerState.CLOSED:
                return None
            case BreakerState.OPEN:
                assert self._opened_at is not None
                return self._opened_at + self._open
            case BreakerState.HALF_OPEN:
                # A probe that never came back must not keep it half open for ever.
                since = self._probing_since
                if since is not None and now < since + self._open:
                    return now + timedelta(seconds=1)
                self._probing_since = now
                return None

    def succeeded(self, begun: datetime) -> None:
        """The API answered a call that began at ``begun``, whatever it said.

        That takes no failure back: what counts is how many there are in the window (DOMAIN 7).
        """
        if self._is_probe(begun):
            self._failed.clear()
            self._opened_at = self._probing_since = None

    def failed(self, begun: datetime, now: datetime) -> None:
        """No answer to a call that began at ``begun``, or a 5xx."""
        if self._opened_at is not None:
            if self._is_probe(begun):
                self._opened_at, self._probing_since = now, None
            return
        self._failed = [at for at in self._failed if at > now - self._window] + [now]
        if len(self._failed) >= self._most:
            self._opened_at = now

    def _is_probe(self, begun: datetime) -> bool:
        """False of calls that were under way when it opened: they say nothing of how it is now."""
        return self._probing_since is not None and begun >= self._probing_since
