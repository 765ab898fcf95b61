"""`caas vehicles config` on a real database."""

import json

import psycopg
import pytest
from typer.testing import CliRunner

from caas.cli import app
from core.errors import NotFound
from tests.ota_engine.world import SEED, VIN

WANTED = """[
    {"module": "TRACTION_CONTROL", "parameter": "off_road_mode", "value": true},
    {"module": "TRACTION_CONTROL", "parameter": "snow_mode_available", "value": 1,
     "until": "2030-01-01T00:00:00Z", "revert": 0}
]"""


@pytest.fixture
def car(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The DSN of a database with one car that differs from what is wanted."""
    with psycopg.connect(database, autocommit=True) as conn:
        conn.execute(SEED)
        conn.execute(
            "INSERT INTO gateway.vehicle (vin, model, firmware) VALUES (%s, 'AURORA', '2.4.1')",
            [VIN],
        )
        conn.execute(
            "SELECT gateway.want_v1(%s, %s, 'OFF_ROAD: active', now())",
            [
                VIN,
                WANTED,
            ],
        )
        conn.execute(
            "UPDATE gateway.vehicle_state SET reported_at = now(), reported_seq = 7,"
            " reported_values = %s WHERE vin = %s",
            ['[{"module":"TRACTION_CONTROL","parameter":"off_road_mode","value":false}]', VIN],
        )
    monkeypatch.setenv("CAAS_DB_DSN", database)
    monkeypatch.setenv("CAAS_DB_SET_ROLE", "true")
    monkeypatch.setenv("COLUMNS", "200")
    return database


def test_it_shows_wanted_reported_and_the_difference(car: str) -> None:
    result = CliRunner().invoke(app, ["vehicles", "config", VIN])
    assert result.exit_code == 0, result.output
    assert "wanted: version 1," in result.output
    assert "OFF_ROAD: active" in result.output
    [mode] = [line for line in result.output.splitlines() if "off_road_mode" in line]
    assert [cell.strip() for cell in mode.strip("│").split("│")] == [
        "TRACTION_CONTROL.off_road_mode", "True", "", "False", "differs",
    ]  # fmt: skip
    [snow] = [line for line in result.output.splitlines() if "snow_mode" in line]
    assert "2030-01-01" in snow
    assert "not reported" in snow


def test_as_json(car: str) -> None:
    result = CliRunner().invoke(app, ["vehicles", "config", VIN, "--json"])
    found = json.loads(result.output)
    assert found["version"] == 1
    assert [item["parameter"] for item in found["difference"]] == [
        "off_road_mode",
        "snow_mode_available",
    ]


def test_an_unknown_vehicle_is_one_line(car: str) -> None:
    result = CliRunner().invoke(app, ["vehicles", "config", "VF1AURRA000000099"])
    assert isinstance(result.exception, NotFound)
    assert "does not know the vehicle" in result.exception.message
