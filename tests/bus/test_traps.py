"""The table of traps in docs/bus-client.md names tests there are, and every trap has one."""

import ast
import re
import tomllib
from pathlib import Path

import yaml
from prometheus_client import REGISTRY

import core.bus.batches
import core.bus.metrics

# Imported so that their metrics are registered.
REGISTERED = (core.bus.batches, core.bus.metrics)
ROOT = Path(__file__).parents[2]
MOSQUITTO_TRAPS = range(1, 8)


def traps() -> list[tuple[str, list[str]]]:
    """Each row of the table: the trap, and what its last column names."""
    text = (ROOT / "docs/bus-client.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Traps, and the test of each")
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return [(row[0].strip(), re.findall(r"`([^`]+)`", row[-1])) for row in rows[1:]]


def known_tests() -> set[str]:
    """The names of every test function, and the paths of every test file."""
    found: set[str] = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        found.add(path.relative_to(ROOT).as_posix())
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
    return found


def test_every_trap_names_a_test_there_is() -> None:
    rows, there = traps(), known_tests()
    assert len(rows) > 20
    for trap, tests in rows:
        assert tests, trap
        assert set(tests) <= there, trap
    numbers = {int(trap.partition(":")[0]) for trap, _ in rows if trap[0].isdigit()}
    assert numbers == set(MOSQUITTO_TRAPS)


def test_the_codec_is_pinned_and_only_the_adapter_knows_it() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = [need for need in project["dependencies"] if need.startswith("mqtt5")]
    assert len(pins) == 1
    assert pins[0].startswith("mqtt5==")
    rooms = (path.parent for path in ROOT.glob("*/__init__.py"))
    users = {
        path.relative_to(ROOT).as_posix()
        for room in rooms
        for path in room.rglob("*.py")
        if re.search(r"^(import|from) mqtt5\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert users == {"core/bus/mqtt5.py", "core/bus/packets.py"}


def test_the_broker_may_hold_many_connections() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert compose["services"]["mosquitto"]["ulimits"]["nofile"] >= 100_000


def test_every_metric_of_the_client_is_documented() -> None:
    page = (ROOT / "docs/bus-client.md").read_text(encoding="utf-8")
    _, _, section = page.partition("## Metrics")
    section, _, _ = section.partition("\n## ")
    named = {
        name
        for line in section.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([^`]+)`", line.split(" | ")[0])
    }
    metrics = {
        metric.name.removeprefix("caas_bus_")
        for metric in REGISTRY.collect()
        if metric.name.startswith("caas_bus_")
    }
    assert named == metrics
