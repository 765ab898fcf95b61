"""Which vehicles are taken up, and by which API."""

from gateway.foreign.part import adopt
from tests.foreign.desk import Desk
from tests.foreign.world import OTHER_VIN, VIN


async def taken_up(desk: Desk) -> dict[str, str | None]:
    rows = await desk.rows("SELECT vin, api FROM gateway.foreign_vehicle")
    return {row["vin"]: row["api"] for row in rows}


async def test_new_vehicles_are_taken_up_and_all_are_compared_at_the_start(desk: Desk) -> None:
    here, elsewhere = desk.api(), desk.api().model_copy(update={"name": "b", "vins": ["VF2*"]})
    await desk.run(
        "INSERT INTO gateway.vehicle (vin, model, firmware, transport)"
        " SELECT 'VF1AURXRB' || lpad(n::text, 8, '0'), 'AURORA', '1', 'iot_api'"
        " FROM generate_series(1, 2500) n"
    )
    await desk.run(
        f"INSERT INTO gateway.vehicle (vin, model, firmware) VALUES ('{OTHER_VIN}', 'AURORA', '1')"
    )
    assert await adopt(desk.gateway, desk.settings, [here]) == 2500
    assert set((await taken_up(desk)).values()) == {"desk"}
    assert OTHER_VIN not in await taken_up(desk)
    assert await adopt(desk.gateway, desk.settings, [here]) == 0
    # A file that was changed is noticed at the start.
    assert await adopt(desk.gateway, desk.settings, [elsewhere]) == 0
    assert await adopt(desk.gateway, desk.settings, [elsewhere], whole=True) == 2501
    assert set((await taken_up(desk)).values()) == {None}
    before = await desk.vehicle_of(VIN)
    assert await adopt(desk.gateway, desk.settings, [elsewhere], whole=True) == 0
    assert await desk.vehicle_of(VIN) == before


async def test_commands_wait_by_the_clock_and_not_by_the_databases(desk: Desk) -> None:
    desk.shows()
    await desk.step()
    desk.accepts()
    await desk.order(seq=1, lives_s=60)
    await desk.step()
    await desk.order(seq=2, lives_s=300)
    assert desk.calls.count("configure") == 1
    await desk.run(
        "UPDATE gateway.foreign_command SET due_at = due_at + interval '1 day' WHERE seq = 1"
    )
    await desk.step()
    assert desk.calls.count("configure") == 1
    desk.clock.advance(60)
    await desk.step()
    assert desk.calls.count("configure") == 2
