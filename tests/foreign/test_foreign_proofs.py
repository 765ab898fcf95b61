"""What proves a command behind a foreign API, and what does not (DOMAIN S6)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    ParameterSetting,
    Reason,
    ReportedConfig,
    Result,
)
from core.contracts.iot_api import StatusView
from core.ids import new_id
from gateway.foreign.rules import unproved
from gateway.foreign.translate import Seen, with_applied
from tests.broker_fixtures import RunningBroker
from tests.foreign.world import HIGH, VIN, World, running

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
NORMAL = [ParameterSetting("ENGINE_CONTROL", "power_mode", "NORMAL")]
POWER = "ENGINE_CONTROL.power_mode"


async def completed_without_effect(world: World) -> Command:
    """A command that the API calls COMPLETED, though the vehicle has not changed."""
    await world.hears(ReportedConfig)
    world.api.mood = "hold"
    command = await world.order(lives_s=2)
    await world.answer(command, Result.ACCEPTED)
    return command


async def test_a_status_that_cannot_be_read_proves_nothing(
    database: str, mosquitto_broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(
        database,
        mosquitto_broker,
        tmp_path,
        monkeypatch,
        CAAS_FOREIGN_LATE_S="1",
        CAAS_FOREIGN_BREAKER_FAILURES="1000",
    ) as world:
        command = await completed_without_effect(world)
        world.api.always["status"] = (503, b"{}")
        world.api.orders[0].status = "COMPLETED"
        end = await world.hears(Answer, lambda a: a.command_id == command.command_id, after=1)
        assert (end.result, end.reason) == (Result.REJECTED, Reason.EXPIRED)
        # The next command's proof comes after all that the first one could have caused.
        del world.api.always["status"]
        world.api.mood = "done"
        zones = [ParameterSetting("HVAC", "climate_zones", 2)]
        await world.answer(await world.order(zones), Result.APPLIED)
        await world.hears(ReportedConfig, lambda c: c.seq == 2)
        assert all(NORMAL[0] in config.values for config in world.all(ReportedConfig))


async def test_a_report_that_does_not_show_it_proves_nothing(
    database: str, mosquitto_broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, CAAS_FOREIGN_LATE_S="1"
    ) as world:
        command = await completed_without_effect(world)
        world.api.orders[0].status = "COMPLETED"
        end = await world.hears(Answer, lambda a: a.command_id == command.command_id, after=1)
        assert (end.result, end.reason) == (Result.REJECTED, Reason.EXPIRED)


async def test_an_older_commands_late_success_leaves_newer_values(
    database: str, mosquitto_broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(
        database, mosquitto_broker, tmp_path, monkeypatch, CAAS_FOREIGN_LATE_S="0.2"
    ) as world:
        world.api.reports = False
        await world.hears(ReportedConfig)
        world.api.mood = "hold"
        zones = ParameterSetting("HVAC", "climate_zones", 2)
        older = await world.order([*HIGH, zones], lives_s=1)
        assert (await world.answer(older, Result.REJECTED)).reason is Reason.EXPIRED
        world.api.mood = "done"
        newer = await world.order(NORMAL)
        await world.answer(newer, Result.APPLIED)
        world.api.orders[0].status = "COMPLETED"
        await world.api.call_back(world.api.orders[0])
        await world.answer(older, Result.APPLIED)
        config = await world.hears(ReportedConfig, lambda c: zones in c.values)
        assert NORMAL[0] in config.values
        assert config.seq == newer.seq


def command_of(*values: ParameterSetting) -> Command:
    return Command(
        VIN, new_id(), 4, CommandKind.CONFIGURE, NOW, NOW + timedelta(60), "BOOST", list(values)
    )


def status_of(**members: Any) -> StatusView:
    return StatusView.model_validate(
        {"vin": VIN, "connectivity": "ONLINE", "diagnostics": {"firmwareVersion": "1"}, **members}
    )


@pytest.mark.parametrize(
    ("status", "since", "why"),
    [
        (None, set[str](), "cannot be read"),
        (None, {POWER}, "cannot be read"),
        (status_of(), set[str](), None),
        (status_of(reportedConfiguration={POWER: "HIGH"}), set[str](), None),
        (status_of(reportedConfiguration={POWER: "NORMAL"}), set[str](), "does not show"),
        (status_of(reportedConfiguration={POWER: "NORMAL"}), {"A.b"}, "does not show"),
        (status_of(reportedConfiguration={POWER: "NORMAL"}), {POWER}, None),
    ],
)
def test_what_proves_a_completed_command(
    status: StatusView | None, since: set[str], why: str | None
) -> None:
    found = unproved(status, command_of(*HIGH), since)
    assert found is None if why is None else why in (found or "")


@pytest.mark.parametrize(
    ("state", "denied"), [("ACTIVE", False), ("PENDING", True), ("ERROR", True)]
)
def test_a_status_that_denies_it(state: str, denied: bool) -> None:
    for service, counts in (("BOOST", denied), ("OTHER", False)):
        entry = {"serviceId": service, "activationDate": "2026-11-24T08:00:00Z", "status": state}
        found = unproved(status_of(activeServices=[entry]), command_of(*HIGH), set())
        assert (found is not None) is counts


def test_what_is_inferred_leaves_what_was_set_since() -> None:
    seen = Seen("A", "1", 5, {POWER: "NORMAL"}, NOW, None, True, "s", 1, None, None, None)
    later = NOW + timedelta(seconds=1)
    zones = ParameterSetting("HVAC", "climate_zones", 2)
    applied = with_applied(seen, command_of(*HIGH, zones), later, {POWER})
    assert applied == replace(
        seen, values={POWER: "NORMAL", "HVAC.climate_zones": 2}, values_at=later
    )
