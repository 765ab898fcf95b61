"""What the command line says when something is wrong: one line that says what to do."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.keys import new_keys_file

NOBODY = "postgresql://caas@127.0.0.1:1/caas"


def caas(*arguments: str, cwd: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("CAAS_")}
    return subprocess.run(
        [sys.executable, "-m", "caas", *arguments],
        env={**own, **settings, "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=cwd, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("service", ["gateway", "ota-engine", "telemetry", "worker"])
def test_a_service_whose_port_is_taken_ends_and_says_so(service: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    new_keys_file(keys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = caas(
            "run", service, cwd=tmp_path, CAAS_OPS_PORT=port, CAAS_MQTT_PORT="1",
            CAAS_DB_DSN=NOBODY, CAAS_SIGNING_KEYS_FILE=str(keys), CAAS_API_JWT_SECRET="x" * 40,
        )  # fmt: skip
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    last = ended.stderr.splitlines()[-1]
    assert last.startswith(f"caas: cannot listen on 127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["run", "nosuch"], {}, "there are gateway, ota-engine"),
        (["run", "gateway"], {"CAAS_MQTT_PORT": "abc"}, "CAAS_MQTT_PORT"),
        (["run", "gateway"], {"CAAS_NOSUCH": "1"}, "unknown setting CAAS_NOSUCH"),
        (["vehicles", "list"], {"CAAS_DB_DSN": NOBODY}, "CAAS_DB_DSN"),
        (["seed", "--staff-password", "x"], {"CAAS_DB_DSN": NOBODY}, "CAAS_DB_DSN"),
        (["migrate"], {"CAAS_DB_DSN": NOBODY}, "CAAS_DB_DSN"),
        (["migrate"], {"CAAS_DB_DSN": "nonsense"}, "CAAS_DB_DSN is no connection string"),
        (["keys", "new", "/proc/key.json"], {}, "/proc/key.json"),
        (["demo"], {"CAAS_DATA_DIR": "/proc/data"}, "/proc/data"),
        (["bench", "nosuch"], {}, "there are ingest"),
        (["health"], {}, "name the URL"),
    ],
)
def test_an_error_is_one_line(
    arguments: list[str], settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    ended = caas(*arguments, cwd=tmp_path, **settings)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("caas: ")
    assert said in ended.stderr


def test_a_database_without_schema_names_the_command(tmp_path: Path, database: str) -> None:
    empty = database.rpartition("/")[0] + "/template1"
    ended = caas("vehicles", "list", cwd=tmp_path, CAAS_DB_DSN=empty)
    assert ended.stderr == "caas: the database is empty or behind: run `caas migrate`\n"
