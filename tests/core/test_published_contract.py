"""docs/asyncapi.yaml is the code's own, and what is really sent fits it."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
import yaml
from joserfc.jwk import KeySet
from typer.testing import CliRunner

from caas.cli import app
from core.contracts import asyncapi, bus, jws
from core.contracts.bus import Presence, PresenceMessage, encode
from core.contracts.examples import NOW, command, examples, foreign_key, known_key
from core.contracts.topics import RETAINED, Topic
from core.errors import Conflict
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.state import UnitState
from vehicle_sim.unit import ControlUnit

PUBLISHED = Path("docs/asyncapi.yaml")
DOCUMENT: dict[str, Any] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
KEYS = KeySet([known_key()])


def check(name: str, message: Any) -> None:
    """ValidationError where ``message`` (as JSON) is none of schema ``name``."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    jsonschema.Draft7Validator(schema).validate(message)


def check_sent(message: msgspec.Struct) -> str:
    name = type(message).__name__
    check(name, json.loads(encode(message)))
    return name


def test_what_is_published_is_what_the_code_says() -> None:
    ran = CliRunner().invoke(app, ["contracts", "--check"])
    assert ran.exception is None, ran.exception


def test_drift_is_one_line_and_exit_1(tmp_path: Path) -> None:
    into = ["contracts", "--to", str(tmp_path)]
    assert CliRunner().invoke(app, into).exit_code == 0
    stale = tmp_path / "asyncapi.yaml"
    assert stale.read_text(encoding="utf-8") == asyncapi.text()
    stale.write_text(stale.read_text(encoding="utf-8").replace("REPLAYED", "REPEATED"))
    ran = CliRunner().invoke(app, [*into, "--check"])
    assert isinstance(ran.exception, Conflict)
    assert str(stale) in ran.exception.message
    assert "\n" not in ran.exception.message
    assert "REPEATED" in stale.read_text(encoding="utf-8"), "--check writes nothing"


def test_every_topic_has_channel_operation_and_message() -> None:
    prefix = "caas/v1/vehicles/{vin}/"
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert addresses == {prefix + topic.value for topic in Topic}
    for operation in DOCUMENT["operations"].values():
        topic = Topic(operation["channel"]["$ref"].rpartition("/")[2])
        assert operation["bindings"]["mqtt"]["qos"] == 1
        assert operation["bindings"]["mqtt"]["retain"] is (topic in RETAINED)
    assert len(DOCUMENT["operations"]) == len(Topic)


def test_every_reference_leads_somewhere() -> None:
    found = list(references(DOCUMENT))
    for reference in found:
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    assert len(found) > 40


def references(value: Any):
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from references(item)


MESSAGES = DOCUMENT["components"]["messages"]
SHOWN = [(name, shown) for name, message in MESSAGES.items() for shown in message["examples"]]


@pytest.mark.parametrize(("name", "shown"), SHOWN, ids=[f"{n}-{s['name']}" for n, s in SHOWN])
def test_the_examples_are_messages(name: str, shown: dict[str, Any]) -> None:
    kind: type[msgspec.Struct] = getattr(bus, name)
    expected = dict(examples()[name])[shown["name"]]
    if kind is bus.Command:
        jsonschema.Draft7Validator(MESSAGES[name]["payload"]).validate(shown["payload"])
        read = jws.verify(shown["payload"].encode(), KEYS)
        with pytest.raises(jws.BadSignature):
            jws.verify(shown["payload"].encode(), KeySet([foreign_key()]))
        check_sent(read)
    else:
        check(name, shown["payload"])
        read = bus.decode(kind, json.dumps(shown["payload"]).encode())
    assert read == expected


def test_what_a_vehicle_answers_and_reports_fits() -> None:
    seen: set[str] = set()
    for model in seed_catalogue().models:
        firmware = firmware_of(seed_catalogue(), model)
        car = ControlUnit(command(1).vin, firmware, UnitState())
        said = list(car.boot(NOW).out)
        for _, order in examples()["Command"]:
            assert isinstance(order, bus.Command)
            for state in bus.Operational:
                said += car.handle(jws.sign(order, known_key()), KEYS, NOW, state).out
        said += car.handle(b"rubbish", KEYS, NOW, bus.Operational.OFF).out
        seen |= {check_sent(item) for item in said}
    assert seen == {"Answer", "ReportedConfig", "VehicleEvent"}


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("Command", {"seq": 0}),
        ("Command", {"vin": "VF1AURORA00000017"}),
        ("Command", {"kind": "EXPLODE"}),
        ("Answer", {"result": "PERHAPS"}),
        ("VehicleStatus", {"signal_pct": 101}),
        ("TelemetryBatch", {"samples": []}),
        ("TelemetryBatch", {"boot": -1}),
        ("PresenceMessage", {"state": "LIMITED"}),
    ],
)
def test_what_is_no_message_does_not_fit(name: str, changes: dict[str, Any]) -> None:
    good = json.loads(encode(examples()[name][0][1]))
    check(name, good)
    with pytest.raises(jsonschema.ValidationError):
        check(name, good | changes)


def test_a_presence_is_online_or_offline() -> None:
    for state in (Presence.ONLINE, Presence.OFFLINE):
        assert check_sent(PresenceMessage(state, NOW, "s", 1)) == "PresenceMessage"
