"""docs/security.md says what the tests try, and the tests try what it says."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from caas.brokers.broker_log import KINDS
from caas.brokers.listeners import source_file
from tests.broker import test_attacks, test_silence

PAGE = (Path(__file__).parents[2] / "docs" / "security.md").read_text(encoding="utf-8")


def rows() -> list[list[str]]:
    """The lines of the table of attacks, cell by cell."""
    table = PAGE.split("## Attacks", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in table.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def trials_in(module: ModuleType) -> dict[str, Callable[..., object]]:
    found = inspect.getmembers(module, inspect.isfunction)
    return {name: made for name, made in found if name.startswith("test_")}


TESTS = {**trials_in(test_attacks), **trials_in(test_silence)}


def test_every_attack_is_tried_and_every_trial_is_written_down() -> None:
    named = [name for row in rows() for name in re.findall(r"`(test_\w+)`", row[3])]
    assert len(named) == len(rows()) == len(set(named))
    assert set(named) == set(TESTS)


def test_what_is_logged_is_what_the_test_waits_for() -> None:
    for attack, _, logged, test in rows():
        code = inspect.getsource(TESTS[test.strip("`")])
        kinds = set(re.findall(r"`(\w+)`", logged))
        assert kinds <= set(KINDS), attack
        assert set(re.findall(r'judge\.expect\(\s*"(\w+)"', code)) == kinds, attack


def test_what_stops_it_is_in_the_brokers_configuration() -> None:
    files = ("mosquitto.conf", "tls.conf", "openssl.cnf", "acl")
    configuration = "\n".join(source_file(name).read_text(encoding="utf-8") for name in files)
    words = {word for row in rows() for word in re.findall(r"`([a-z_]+)`", row[1])}
    assert words
    for word in words:
        assert re.search(rf"^{word} ", configuration, re.MULTILINE), word
