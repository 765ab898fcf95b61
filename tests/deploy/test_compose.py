"""docker-compose.yml against the project: no Docker engine runs the file here, so each name in it
is looked up where it is defined."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from typer.testing import CliRunner

from caas.brokers.mosquitto import source_file
from caas.cli import app
from caas.services import SERVICES, settings_groups
from core.settings import SettingsGroup, load
from gateway.foreign.settings import ForeignSettings
from gateway.registry.passwords import read_accounts

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES_THERE: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES_THERE.items() if service["image"].startswith("caas:")]
# ${NAME}, ${NAME:-default}, ${NAME:?}
REFERENCE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def interpolated(text: str) -> str:
    """As compose reads it, with a made-up value for what must be given."""
    return REFERENCE.sub(lambda m: (m[3] or "") if m[2] == "-" else "given", text)


def environment(name: str) -> dict[str, str]:
    return {
        key: interpolated(str(value))
        for key, value in SERVICES_THERE[name].get("environment", {}).items()
    }


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in cast("dict[str, Any]", value).values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from strings(item)


def settings_by_name() -> dict[str, tuple[type[SettingsGroup], str]]:
    return {
        name: (group, field) for group in settings_groups() for name, field in group.names().items()
    }


def commands(service: dict[str, Any]) -> list[list[str]]:
    """Every caas command line of a service: what it runs, and its health check."""
    lines: list[list[str]] = []
    command = cast("list[str]", service.get("command", []))
    if command[:2] == ["sh", "-c"]:
        lines += [shlex.split(part) for part in command[2].split("&&")]
    elif command:
        lines.append(command)
    test = cast("list[str]", service.get("healthcheck", {}).get("test", []))
    if test[:2] == ["CMD", "caas"]:
        lines.append(test[1:])
    return lines


def test_every_service_of_the_platform_is_there() -> None:
    run = {line[2] for name in OURS for line in commands(SERVICES_THERE[name]) if "run" in line}
    assert run == set(SERVICES)
    assert {"timescaledb", "mosquitto", "prometheus", "grafana", "mail"} <= set(SERVICES_THERE)


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_the_command_line_has(name: str) -> None:
    lines = commands(SERVICES_THERE[name])
    assert lines
    for line in lines:
        assert line[0] == "caas"
        words = [word for word in line[1:] if re.fullmatch(r"[a-z][a-z-]*", word)]
        path = words[:2] if words[0] in {"keys", "vehicles", "ca"} else words[:1]
        shown = CliRunner().invoke(app, [*path, "--help"])
        assert shown.exit_code == 0, shown.output
        for option in (word for word in line if word.startswith("--")):
            assert option in shown.output
        if words[0] == "run":
            assert words[1] in SERVICES


@pytest.mark.parametrize("name", OURS)
def test_every_setting_is_known_and_its_value_is_taken(name: str) -> None:
    known = settings_by_name()
    given = {key: value for key, value in environment(name).items() if key.startswith("CAAS_")}
    values: dict[type[SettingsGroup], dict[str, str]] = {}
    for key, value in given.items():
        if key == "CAAS_SEED_STAFF_PASSWORD":  # an option of `caas seed`
            continue
        assert key in known, f"{name} sets {key}, which no settings group has"
        group, field = known[key]
        values.setdefault(group, {})[field] = value.replace("given", "given" * 8)
    for group, fields in values.items():
        group(**cast("dict[str, Any]", fields))


def test_every_variable_is_in_the_example_and_the_other_way_round() -> None:
    used = {found[1] for text in strings(COMPOSE) for found in REFERENCE.finditer(text)}
    example = (ROOT / ".env.example").read_text()
    offered = set(re.findall(r"^#?([A-Z][A-Z_]+)=", example, re.MULTILINE))
    assert used == offered
    required = {
        found[1]
        for text in strings(COMPOSE)
        for found in REFERENCE.finditer(text)
        if found[2] == "?"
    }
    filled = dict(re.findall(r"^([A-Z][A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert required <= set(filled)
    assert not any(filled[name] for name in required), "a secret with a value is no secret"


def test_what_is_not_encrypted_is_published_on_this_machine_only() -> None:
    for name, service in SERVICES_THERE.items():
        for port in service.get("ports", []):
            inside = interpolated(port).rpartition(":")[2]
            assert port.startswith("127.0.0.1:") or (name, inside) == ("mosquitto", "8883"), port


def test_foreign_apis_may_be_left_out() -> None:
    given = environment("gateway")
    assert (given["CAAS_FOREIGN_APIS_FILE"], given["CAAS_FOREIGN_MQTT_PASSWORD"]) == ("", "")
    settings = load(ForeignSettings, apis_file="", mqtt_password="")
    assert (settings.apis_file, settings.mqtt_password) == (None, None)
    mounts = [m.split(":")[-2] for m in SERVICES_THERE["gateway"]["volumes"]]
    example = (ROOT / ".env.example").read_text()
    assert re.findall(r"#FOREIGN_APIS_FILE=(/\w+)/", example)[0] in mounts


def test_an_account_without_a_secret_is_none(tmp_path: Path) -> None:
    accounts = tmp_path / "accounts.json"
    accounts.write_text(interpolated(COMPOSE["configs"]["mqtt-accounts"]["content"]))
    assert "svc-bridge" not in read_accounts(accounts)
    assert "svc-gateway" in read_accounts(accounts)


def test_every_mounted_path_exists_and_every_volume_is_declared() -> None:
    for name, service in SERVICES_THERE.items():
        for mount in service.get("volumes", []):
            source, target = interpolated(mount).split(":")[:2]
            assert target.startswith("/"), f"{name}: {mount}"
            if source.startswith("."):
                # Two folders are made by the operator; everything else is in the checkout.
                made = {"./fleet", "./foreign"}
                assert (ROOT / source).exists() or source in made, f"{name} mounts {source}"
            else:
                assert source in COMPOSE["volumes"], f"{name} mounts {source}"
        for config in service.get("configs", []):
            assert config["source"] in COMPOSE["configs"]


def test_the_files_mosquitto_runs_from_are_where_its_script_looks() -> None:
    texts = [source_file(name).read_text() for name in ("reload-on-change.sh", "mosquitto.conf")]
    mounted = {m.split(":")[1] for m in SERVICES_THERE["mosquitto"]["volumes"] if m[0] != "$"}
    texts += [source_file(name).read_text() for name in ("assemble.sh", "tls.conf", "log.conf")]
    for name in ("config", "secrets", "data", "ca", "log"):
        folder = f"/mosquitto/{name}"
        assert folder in mounted
        assert any(folder in text for text in texts), folder
    assert SERVICES_THERE["mosquitto"]["entrypoint"][1] == "/mosquitto/config/reload-on-change.sh"
    listeners = re.findall(
        r"^listener (\d+)",
        source_file("mosquitto.conf").read_text() + source_file("tls.conf").read_text(),
        re.MULTILINE,
    )
    published = {interpolated(p).split(":")[-1] for p in SERVICES_THERE["mosquitto"]["ports"]}
    # The services' own is for the network of compose only.
    assert published == set(listeners) - {"1883"}


def test_the_accounts_of_the_services_are_those_of_the_access_rules() -> None:
    accounts = json.loads(interpolated(COMPOSE["configs"]["mqtt-accounts"]["content"]))
    rules = source_file("acl").read_text()
    assert set(accounts) == set(re.findall(r"^user (\S+)", rules, re.MULTILINE))
    users = {environment(name).get("CAAS_MQTT_USERNAME") for name in OURS} - {None}
    assert users < set(accounts)


def test_every_address_names_a_service_and_a_port_it_listens_on() -> None:
    listens = {
        "timescaledb": {5432},
        "mosquitto": {1883, 8883, 8884},
        "mail": {1025, 8025},
        "partner-sims": {8090, 8025},
        "prometheus": {9090},
        "grafana": {3000},
        "api": {8000},
    }
    address = re.compile(r"(?:@|//)([a-z][a-z-]*):(\d+)")
    texts = [*strings([environment(name) for name in SERVICES_THERE])]
    texts += [f"//{target}" for target in scrape_targets()]
    found = {(host, int(port)) for text in texts for host, port in address.findall(text)}
    assert {host for host, _ in found} >= {"timescaledb", "api", "gateway", "partner-sims"}
    for host, port in found:
        assert host in SERVICES_THERE
        assert port in listens.get(host, {9000}), f"{host}:{port}"


def test_prometheus_scrapes_every_service_of_the_platform() -> None:
    scraped = {target.split(":")[0] for target in scrape_targets()}
    assert scraped == set(SERVICES) - {"sim", "partner-sims"}


def test_dependencies_exist_and_everything_has_a_health_check() -> None:
    for name, service in SERVICES_THERE.items():
        for needed in service.get("depends_on", {}):
            assert needed in SERVICES_THERE, f"{name} needs {needed}"
        once = service.get("restart") == "no"
        assert once or service["healthcheck"]["test"], name
        assert ":" in service["image"], f"{name}: an image without a version"
        assert "latest" not in service["image"]


def test_the_image_is_pinned_and_runs_as_nobody_in_particular() -> None:
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    bases = {line.split()[1] for line in lines if line.startswith("FROM")}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())
    assert sum(line.startswith("FROM") for line in lines) == 2
    assert any(line.startswith("USER 10001") for line in lines)
    copied = {line.split()[1] for line in lines if line.startswith("COPY requirements")}
    assert copied == {"requirements.lock"}
    assert (ROOT / "requirements.lock").exists()


def scrape_targets() -> list[str]:
    config = yaml.safe_load((ROOT / "dashboards/prometheus/prometheus.yml").read_text())
    return [
        target
        for job in config["scrape_configs"]
        for static in job["static_configs"]
        for target in static["targets"]
    ]


def test_the_recommended_secrets_fit_into_a_url() -> None:
    # A slash of base64 in a DSN's password ends its host name.
    for file in (ROOT / ".env.example", ROOT / "docs" / "operations.md"):
        assert "openssl rand -hex" in file.read_text()
        assert "base64" not in file.read_text()


def test_the_database_is_healthy_only_when_others_can_reach_it() -> None:
    # The image initialises with a server on the socket: healthy there, and gone a moment later.
    database = SERVICES_THERE["timescaledb"]
    assert "-h 127.0.0.1" in " ".join(database["healthcheck"]["test"])
    data = database["environment"]["PGDATA"]
    assert any(data.startswith(volume.split(":")[1] + "/") for volume in database["volumes"])


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_time_to_store_what_it_has_received(name: str) -> None:
    assert SERVICES_THERE[name]["stop_grace_period"] == "30s"
