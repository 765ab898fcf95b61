"""Identifiers, money, time and settings."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from core.clock import ManualClock, rfc3339
from core.errors import Invalid, SettingsError
from core.ids import is_vin, new_id, parse_vin
from core.money import Money
from core.settings import BusSettings, DatabaseSettings, check_unknown, load


def test_ids_are_version_7_and_sort_by_time_of_making() -> None:
    ids = [new_id() for _ in range(1000)]
    assert {one.version for one in ids} == {7}
    assert len(set(ids)) == 1000
    assert sorted(one.int >> 80 for one in ids) == [one.int >> 80 for one in ids]


@pytest.mark.parametrize(
    "text", ["VF1AURORA0000001", "VF1AURRRA000000171", "VF1AURORAI0000017", "vf1aurrra00000017", ""]
)
def test_what_is_no_vin(text: str) -> None:
    assert not is_vin(text)


def test_a_vin_is_read_in_any_case_and_kept_in_upper_case() -> None:
    assert parse_vin(" vf1aurrra00000017 ") == "VF1AURRRA00000017"
    with pytest.raises(Invalid, match="17 letters"):
        parse_vin("VF1AURORA00000017")


def test_money_is_whole_cents_rounded_half_up() -> None:
    assert Money.of("0.005").minor == 1
    assert Money(32500_00).percent(10) == Money(3250_00)
    assert Money(1).percent(Decimal("50")).minor == 1
    assert (Money(100) + Money(250) - Money(50)).major == Decimal("3.00")
    with pytest.raises(ValueError, match="cannot add"):
        _ = Money(1) + Money(1, "USD")


def test_times_on_the_bus_are_utc_with_milliseconds() -> None:
    moment = datetime(2026, 11, 24, 9, 0, 0, 999_999, tzinfo=timezone(timedelta(hours=1)))
    assert rfc3339(moment) == "2026-11-24T08:00:00.999Z"


def test_a_manual_clock_moves_only_when_moved() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(1.5)
    assert clock.now() == datetime(2026, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC)
    with pytest.raises(ValueError, match="aware"):
        ManualClock(datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_bad_setting_is_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAAS_MQTT_PORT", "many")
    with pytest.raises(SettingsError, match="CAAS_MQTT_PORT") as error:
        load(BusSettings)
    assert "\n" not in str(error.value)


def test_an_unknown_setting_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    groups = [BusSettings, DatabaseSettings]
    monkeypatch.setenv("CAAS_MQTT_PORT", "1884")
    check_unknown(groups)
    (tmp_path / ".env").write_text("# a comment\nCAAS_MQTT_HOTS=broker\n")
    with pytest.raises(SettingsError, match="CAAS_MQTT_HOTS"):
        check_unknown(groups)
    (tmp_path / ".env").unlink()
    monkeypatch.setenv("CAAS_DB_DNS", "postgresql://")
    with pytest.raises(SettingsError, match="CAAS_DB_DNS"):
        check_unknown(groups)
