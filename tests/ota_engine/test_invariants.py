"""Whatever fails: random faults, then the invariants of issue 4 and S1."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from core.contracts.bus import Operational
from core.contracts.jobs import (
    CancelActivation,
    PaymentReleased,
    RequestActivation,
    RetryActivation,
    WithdrawActivation,
)
from core.contracts.states import Origin
from tests.ota_engine.random_car import RandomCar
from tests.ota_engine.world import World

STEPS = 60
SETTLING_ROUNDS = 60
SEEDS = range(8)
FINAL = {"ACTIVE", "FAILED_NO_CHARGE", "CANCELLED_REFUNDED", "EXPIRED"}


class Life:
    """One car's life: purchases, second thoughts, bad roads."""

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(seed)
        self.car = RandomCar(world, self.dice)
        self.bought: list[RequestActivation] = []
        self.released = 0

    async def step(self) -> None:
        acts: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (3, self.buy),
            (10, self.car.receive),
            (8, self.wait),
            (3, self.car.publish_state),
            (2, lambda: self.car.drive(Operational.RUNNING)),
            (2, self.go_offline),
            (3, self.come_online),
            (3, self.car.repeat_something_old),
            (2, self.cancel),
            (1, self.withdraw),
            (3, self.release),
            (1, self.retry),
            (2, self.broker),
        ]
        weights = [weight for weight, _ in acts]
        [(_, act)] = self.dice.choices(acts, weights)
        await act()
        await self.world.settle()

    async def buy(self) -> None:
        service = self.dice.choice(["PERF_BOOST_50", "OFF_ROAD", "SPORT_SOUND"])
        origin = self.dice.choice([Origin.PURCHASE, Origin.PURCHASE, Origin.PLAN])
        days = self.dice.choice([1, None])
        self.bought.append(await self.world.buy(service, origin=origin, days=days))

    async def wait(self) -> None:
        await self.world.later(self.dice.choice([1, 5, 30, 120, 301, 3600]))

    async def go_offline(self) -> None:
        await self.world.vehicle("OFFLINE")

    async def come_online(self) -> None:
        await self.world.vehicle("ONLINE")
        await self.world.online()
        await self.car.publish_state()

    async def broker(self) -> None:
        self.world.bus.down = not self.world.bus.down and self.dice.random() < 0.5

    async def cancel(self) -> None:
        await self._on_some(lambda job: CancelActivation(activation_id=job))

    async def withdraw(self) -> None:
        await self._on_some(lambda job: WithdrawActivation(activation_id=job))

    async def retry(self) -> None:
        await self._on_some(lambda job: RetryActivation(activation_id=job, actor="support"))

    async def _on_some(
        self, make: Callable[[UUID], CancelActivation | WithdrawActivation | RetryActivation]
    ) -> None:
        if self.bought:
            await self.world.do(make(self.dice.choice(self.bought).activation_id))

    async def release(self) -> None:
        """The worker gives the money back, in order, and says so."""
        ordered = await self.world.deferred("api.release_payment")
        for payload in ordered[self.released :]:
            job = PaymentReleased(activation_id=UUID(payload["activation_id"]), outcome="VOIDED")
            await self.world.do(job)
            self.released += 1

    async def come_to_rest(self) -> None:
        """Everything works from now on; in bounded time everything must have ended."""
        self.world.bus.down = False
        self.car.honest = True
        for _ in range(SETTLING_ROUNDS):
            await self.world.later(400)
            await self.come_online()
            await self.car.receive()
            await self.release()


async def check(life: Life) -> None:
    world = life.world
    captures = Counter(p["activation_id"] for p in await world.deferred("api.capture_payment"))
    releases = Counter(p["activation_id"] for p in await world.deferred("api.release_payment"))
    assert max(captures.values(), default=0) <= 1, "captured at most once"
    assert max(releases.values(), default=0) <= 1, "released at most once"
    in_use: list[RequestActivation] = []
    for job in life.bought:
        key = str(job.activation_id)
        history = await world.history(job)
        state = history[-1]
        assert state in FINAL, f"{job.service_code} ends: {history}"
        if captures[key]:
            assert "ACTIVE" in history, "captured only with the car's proof"
        if state == "FAILED_NO_CHARGE":
            assert not captures[key], "not delivered is not charged"
        if "FAILED_NO_CHARGE" in history and job.payment_id is not None:
            assert releases[key] == 1, "the money went back"
        if state == "ACTIVE":
            in_use.append(job)
    await check_car(life, in_use)
    for ticket, count in Counter(
        (row["activation_id"], row["kind"]) for row in await world.tickets()
    ).items():
        assert count == 1, f"one ticket: {ticket}"


async def check_car(life: Life, in_use: list[RequestActivation]) -> None:
    """Nothing stays on that nobody pays for, unless its switch-off has a ticket."""
    wanted = {job.service_code for job in in_use}
    unfinished = [t for t in await life.world.tickets() if t["kind"] == "SWITCH_OFF"]
    if unfinished:
        return
    values = life.car.values
    power = values[("ENGINE_CONTROL", "power_mode")].value == "HIGH"
    road = values[("TRACTION_CONTROL", "off_road_mode")].value is True
    snow = values[("TRACTION_CONTROL", "snow_mode_available")].value == 1
    assert not power or wanted & {"PERF_BOOST_50", "SPORT_SOUND"}, "power is on for nobody"
    assert not (road or snow) or "OFF_ROAD" in wanted, "off-road is on for nobody"


@pytest.mark.parametrize("seed", SEEDS)
async def test_random_faults_break_no_invariant(world: World, seed: int) -> None:
    """Issue 4, crash and fault invariants, on a seeded walk."""
    life = Life(world, seed)
    with capture_logs() as logs:
        for _ in range(STEPS):
            await life.step()
        await life.come_to_rest()
    broken = [entry for entry in logs if entry["log_level"] in ("error", "critical")]
    assert [entry for entry in broken if entry["event"] != "security alert"] == []
    await check(life)
    assert any(job for job in life.bought), "the walk bought something"
