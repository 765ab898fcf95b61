"""When a car drives and when it stands: a seeded habit, or a hand on the control API."""

from random import Random

from core.contracts.bus import Operational
from vehicle_sim.physics import Car

DRIVE_S = (300.0, 1200.0)
REST_S = (300.0, 1800.0)


class Driver:
    """Drives and rests by turns if ``roams``; else stands until told. Seconds are the car's own."""

    def __init__(self, rng: Random, *, roams: bool) -> None:
        self._rng = rng
        self.roams = roams
        self.by_hand: bool | None = None  # drives or stands because somebody decided so
        # Cars of a fleet are somewhere in their day, not all at its beginning.
        self._left_s = rng.uniform(0, REST_S[1])

    def take_over(self, car: Car, *, drive: bool) -> None:
        """Somebody decides by hand; from then on only a hand changes it."""
        self.roams = False
        self.by_hand = drive
        if drive:
            car.drive()
        else:
            car.park()

    def pass_time(self, car: Car, seconds: float) -> None:
        """Change between driving and resting when it is time to."""
        if not self.roams:
            return
        self._left_s -= seconds
        if self._left_s > 0:
            return
        if car.state is Operational.RUNNING:
            car.park(charge=car.low)
            self._left_s = self._rng.uniform(*REST_S)
        elif car.state is Operational.PARKED:
            car.drive()
            self._left_s = self._rng.uniform(*DRIVE_S)
