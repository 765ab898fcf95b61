"""The wanted document: what gets in, when its version rises, and who may write it (ADR 6)."""

import pytest

from core.contracts.bus import ParameterSetting
from core.contracts.jobs import RequestActivation, WithdrawActivation
from tests.ota_engine.world import OFFROAD_ON, POWER_OFF, POWER_ON, VIN
from tests.wanted.world import POWER, Chain


async def bought(
    world: Chain, service: str = "PERF_BOOST_50", days: int | None = 7
) -> RequestActivation:
    job = await world.ota.buy(service, days=days)
    await world.work()
    assert await world.ota.state(job) == "ACTIVE"
    return job


async def test_a_proved_service_is_wanted_until_it_ends(world: Chain) -> None:
    assert await world.wanted() == {}
    job = await bought(world)
    assert await world.wanted() == {POWER: "HIGH"}
    [row] = await world.ota.sql("SELECT * FROM gateway.wanted_v1")
    assert row["cause"] == "PERF_BOOST_50: active"
    [item] = row["wanted_values"]
    end = (await world.ota.activation(job.activation_id))["expires_at"]
    assert item["revert"] == "NORMAL"
    assert item["until"].startswith(f"{end:%Y-%m-%dT%H:%M}")
    await world.ota.do(WithdrawActivation(activation_id=job.activation_id))
    assert await world.wanted() == {POWER: "NORMAL"}
    history = await world.ota.sql("SELECT version, cause FROM gateway.wanted_history_v1")
    assert [(row["version"], row["cause"]) for row in history] == [
        (1, "PERF_BOOST_50: active"),
        (2, "PERF_BOOST_50: withdrawn"),
    ]


async def test_what_another_service_needs_stays_wanted(world: Chain) -> None:
    first = await bought(world, days=None)
    await bought(world, "SPORT_SOUND", days=30)
    [row] = await world.ota.sql("SELECT wanted_values FROM gateway.wanted_v1")
    assert "until" not in row["wanted_values"][0], "one of the two is permanent"
    await world.ota.do(WithdrawActivation(activation_id=first.activation_id))
    [row] = await world.ota.sql("SELECT wanted_values FROM gateway.wanted_v1")
    assert row["wanted_values"][0]["value"] == "HIGH"
    assert "until" in row["wanted_values"][0]


async def test_the_same_again_is_no_new_version(world: Chain) -> None:
    for _ in range(3):
        await world.want(*OFFROAD_ON)
    assert await world.version() == 1
    await world.want(*POWER_ON)
    assert await world.version() == 2
    assert len(await world.wanted()) == 3
    assert len(await world.ota.sql("SELECT * FROM gateway.wanted_history_v1")) == 2


async def test_a_base_parameter_never_gets_in(world: Chain) -> None:
    """S2: only what a service of the platform switches is wanted of a car."""
    brakes = ParameterSetting("BRAKES", "abs_enabled", False)
    rows = await world.ota.sql(
        "SELECT * FROM gateway.want_v1(%s, %s, 'test', %s)",
        VIN,
        '[{"module":"BRAKES","parameter":"abs_enabled","value":false},'
        ' {"module":"ENGINE_CONTROL","parameter":"power_mode","value":null},'
        ' {"module":"ENGINE_CONTROL","parameter":"power_mode","value":"NORMAL"}]',
        world.ota.clock.now(),
    )
    assert rows[0]["refused"] == ["BRAKES.abs_enabled", "ENGINE_CONTROL.power_mode"]
    assert await world.wanted() == {POWER: "NORMAL"}
    await world.want(brakes)
    assert await world.version() == 1


async def test_an_unknown_vehicle_wants_nothing(world: Chain) -> None:
    [row] = await world.ota.sql(
        "SELECT * FROM gateway.want_v1('VF1AURRA000000099', '[]', 'test', %s)",
        world.ota.clock.now(),
    )
    assert (row["outcome"], row["version"]) == ("UNKNOWN_VIN", None)


async def test_it_rolls_back_with_its_caller(world: Chain) -> None:
    """A delivery that is not proved after all leaves nothing wanted."""

    values = '[{"module":"ENGINE_CONTROL","parameter":"power_mode","value":"HIGH"}]'

    async def want_and_fail() -> None:
        async with world.room.transaction() as conn:
            outcome = await conn.value(
                "SELECT outcome FROM gateway.want_v1(%(vin)s, %(values)s, 'test', now())",
                {"vin": VIN, "values": values},
            )
            assert outcome == "CHANGED"
            raise KeyError

    with pytest.raises(KeyError):
        await want_and_fail()
    assert await world.wanted() == {}
    await world.want(*POWER_OFF)
    assert await world.version() == 1
