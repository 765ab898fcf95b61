"""When a vehicle behind a foreign API is looked at, what is said meanwhile, and what is kept."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.clock import rfc3339
from core.contracts.bus import (
    Operational,
    Presence,
    PresenceMessage,
    Reason,
    Result,
    VehicleEvent,
    VehicleStatus,
)
from gateway import registry
from gateway.foreign.part import adopt
from gateway.foreign.repository import LeaseLost
from gateway.state import VehicleState, follow_presence
from tests.broker_fixtures import RunningBroker
from tests.foreign.desk import Desk
from tests.foreign.world import VIN, running
from tests.gateway.conftest import eventually


async def statuses(desk: Desk) -> list[VehicleStatus]:
    return [item for item in await desk.said() if isinstance(item, VehicleStatus)]


async def test_a_used_up_quota_does_not_blind_us(desk: Desk) -> None:
    desk.shows()
    await desk.step()
    limit = httpx.Response(429, headers={"Retry-After": "3600"}, json={})
    desk.gives["configure"] = lambda _: limit
    await desk.order(lives_s=300)
    await desk.step()
    (deferred,) = await desk.answers()
    assert (deferred.result, deferred.reason) == (Result.DEFERRED, Reason.BUSY)
    desk.shows(connectivity="OFFLINE")
    await desk.step()
    assert isinstance((await desk.said())[-1], PresenceMessage)  # that it is away is said at once
    desk.shows(diagnostics={"firmwareVersion": "2.5.0"})
    for _ in range(4):
        desk.clock.advance(60)
        await desk.step()
    back = (await desk.said())[-3:]
    assert isinstance(back[0], PresenceMessage)
    assert back[0].state is Presence.ONLINE
    before = len(await statuses(desk))
    desk.shows(operational="CHARGING")
    desk.clock.advance(60)
    await desk.step()
    assert len(await statuses(desk)) == before  # quiet: the engine would send again
    desk.clock.advance(3600)
    await desk.step()
    assert (await statuses(desk))[-1].operational is Operational.CHARGING


@pytest.mark.parametrize(
    ("operational", "quiet"), [(None, True), ("PARKED", True), ("RUNNING", False)]
)
async def test_an_unsafe_state_that_nothing_explains_is_waited_out(
    desk: Desk, operational: str | None, quiet: bool
) -> None:
    desk.shows(operational=None)
    await desk.step()
    desk.accepts("FAILED", "UNSAFE_STATE")
    await desk.order()
    await desk.step()
    desk.clock.advance(5)
    desk.shows(operational=operational)
    await desk.step()
    assert [a.result for a in await desk.answers()] == [Result.ACCEPTED, Result.DEFERRED]
    before = len(await statuses(desk))
    await desk.step()
    assert len(await statuses(desk)) == before + (not quiet)
    desk.clock.advance(600)
    await desk.step()
    assert len(await statuses(desk)) > before


async def test_events_that_are_late_or_ahead_are_each_said_once(desk: Desk) -> None:
    desk.options = {"events": True}
    desk.shows()
    log: list[dict[str, Any]] = []

    async def look(*entries: tuple[float, str]) -> list[str | None]:
        """Codes said after a look that finds these, each by its seconds from now."""
        for seconds, code in entries:
            at = desk.clock.now() + timedelta(seconds=seconds)
            log.insert(0, {"at": rfc3339(at), "type": "DTC_SET", "code": code})
        report = {"errorCodes": [], "firmwareVersion": "1", "vehicleLog": log}
        answer = httpx.Response(200, json=report)
        desk.gives["diagnostics"] = lambda _: answer
        await desk.step()
        desk.clock.advance(60)
        return [item.code for item in await desk.said() if isinstance(item, VehicleEvent)]

    assert await look((-1, "before we had the vehicle")) == []
    assert await look((23 * 3600, "ahead")) == ["ahead"]
    assert await look((0, "now")) == ["ahead", "now"]
    assert await look((-60, "same time as the last"), (-90, "late")) == [
        "ahead",
        "now",
        "late",
        "same time as the last",
    ]
    assert len(await look()) == 4
    desk.clock.advance(25 * 3600)
    assert (await look((0, "next day")))[4:] == ["next day"]
    assert len(await look()) == 5


async def test_a_vehicle_that_was_on_our_bus_comes_online_behind_an_api(desk: Desk) -> None:
    await desk.run(
        "UPDATE gateway.vehicle_state SET boot = 17, session = 'its own', presence_at = now()"
    )
    desk.shows()
    await desk.step()
    online = next(item for item in await desk.said() if isinstance(item, PresenceMessage))
    state = VehicleState(VIN, "AURORA", "1", session="its own", boot=17, presence_at=online.at)
    assert follow_presence(state, online, desk.clock.now(), 20).presence == "ONLINE"


async def test_a_vehicle_that_leaves_an_api_begins_anew(desk: Desk) -> None:
    desk.shows()
    await desk.step()
    assert (await desk.vehicle())["online"]
    for transport in ("mqtt", "iot_api"):
        await desk.run(
            "UPDATE gateway.vehicle_state SET boot = 900, session = 'x', presence_at = now()"
        )
        async with desk.room.transaction() as conn:
            await registry.revoke(conn, VIN)
            await registry.enroll(
                conn, vin=VIN, model="AURORA", firmware="1", transport=transport, again=True
            )
        (state,) = await desk.rows("SELECT session, boot FROM gateway.vehicle_state")
        assert state == {"session": None, "boot": None}
        assert not (await desk.vehicle())["online"]
    await adopt(desk.gateway, desk.settings, [desk.api()])
    desk.clock.advance(60)
    await desk.step()
    boots = [item.boot for item in await desk.said() if isinstance(item, PresenceMessage)]
    assert boots == [1, 2]


async def test_a_replica_whose_lease_is_over_says_nothing(desk: Desk) -> None:
    await desk.run("UPDATE gateway.foreign_vehicle SET leased_by = 1")
    desk.shows()
    with pytest.raises(LeaseLost):
        await desk.step()
    assert await desk.said() == []


async def test_what_the_broker_refuses_is_kept_and_tried_again_later(
    database: str, mosquitto_broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(
        database,
        mosquitto_broker,
        tmp_path,
        monkeypatch,
        # An account that may not speak for vehicles.
        CAAS_FOREIGN_MQTT_USERNAME="svc-telemetry",
        CAAS_FOREIGN_MQTT_PASSWORD=mosquitto_broker.secrets["svc-telemetry"],
    ) as world:

        async def refused() -> bool:
            # Mosquitto closes the line at each refusal, so one vehicle's turn can take a while.
            tries = world.rows("SELECT unsaid_tries FROM gateway.foreign_vehicle")
            return sum(number for (number,) in tries) >= 3

        async def kept() -> bool:
            topics = world.rows(
                "SELECT topic FROM gateway.foreign_message WHERE vin = %s ORDER BY message_id", VIN
            )
            return topics == [("presence",), ("config",), ("status",)]

        await eventually(refused, "the broker has refused three times")
        await eventually(kept, "what was refused is still to be said")
        assert world.heard == []
