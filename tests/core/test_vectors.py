"""The published test vectors, run over our own vehicle and platform."""

import base64
import hashlib
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc.jwk import KeySet

from core.bus import Message
from core.contracts.bus import (
    Answer,
    Operational,
    ParameterSetting,
    PresenceMessage,
    Reason,
    digest_of,
)
from gateway.state import VehicleState, follow_presence
from telemetry.decode import Reader
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.state import UnitState
from vehicle_sim.unit import ControlUnit

FOLDER = Path("docs/vectors")
POWER = "ENGINE_CONTROL.power_mode"


def load(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / name).read_text(encoding="utf-8"))


def cases(name: str) -> list[Any]:
    found = load(name)["cases"]
    assert len({case["name"] for case in found}) == len(found)
    return [pytest.param(case, id=case["name"]) for case in found]


@pytest.mark.parametrize("case", cases("commands.json"))
def test_a_vehicle_answers_as_it_should(case: dict[str, Any]) -> None:
    document = load("commands.json")
    vehicle, before, expect = document["vehicle"], case["before"], case["expect"]
    answers = [msgspec.convert(answer, Answer) for answer in before["answers"]]
    car = ControlUnit(
        vehicle["vin"],
        firmware_of(seed_catalogue(), vehicle["model"], vehicle["firmware"]),
        UnitState(
            highest_seq=before["highest_seq"],
            values={POWER: before["power_mode"]},
            answers={str(answer.command_id): answer for answer in answers},
        ),
    )
    reaction = car.handle(
        case["payload"].encode(),
        KeySet.import_key_set(document["trusted_keys"]),
        datetime.fromisoformat(before["now"]),
        Operational(before["operational"]),
    )
    (answer,) = (item for item in reaction.out if isinstance(item, Answer))
    assert {
        "command_id": None if answer.command_id is None else str(answer.command_id),
        "seq": answer.seq,
        "result": answer.result,
        "reason": answer.reason,
        "highest_seq": car.state.highest_seq,
        "power_mode": car.state.values[POWER],
    } == expect
    if answers:
        assert [answer] == answers, "the last answer again, to the letter"


def test_the_commands_show_what_a_vehicle_alone_can_refuse() -> None:
    shown = {case["expect"]["reason"] for case in load("commands.json")["cases"]}
    by_model_or_machine = {Reason.INCOMPATIBLE, Reason.CONFLICT, Reason.FIRMWARE_ERROR}
    assert shown == {None, *Reason} - by_model_or_machine


@pytest.mark.parametrize("case", cases("digests.json"))
def test_a_digest_is_that_of_the_text(case: dict[str, Any]) -> None:
    assert hashlib.sha256(case["text"].encode()).hexdigest() == case["digest"]
    assert digest_of(msgspec.convert(case["values"], list[ParameterSetting])) == case["digest"]


@pytest.mark.parametrize("case", cases("telemetry.json"))
def test_telemetry_is_stored_or_has_its_reason(case: dict[str, Any]) -> None:
    document = load("telemetry.json")
    if "payload_base64" in case:
        payload = base64.b64decode(case["payload_base64"])
    else:
        payload = case["payload"].encode().ljust(case.get("pad_to", 0))
    reader = Reader("caas/v1/vehicles", timedelta(days=document["oldest_days"]))
    topic = f"caas/v1/vehicles/{document['vin']}/telemetry"
    read = reader.read(Message(topic, payload), datetime.fromisoformat(document["now"]))
    assert (read.refusal.reason if read.refusal else None) == case["reason"], read.refusal
    assert (read.body is None) is (case["reason"] is not None)


@pytest.mark.parametrize("case", cases("presence.json"))
def test_presence_follows_the_last_session(case: dict[str, Any]) -> None:
    state = VehicleState(vin="VF1AURRRA00000017", model="AURORA", firmware="2.4.1")
    for step in case["steps"]:
        message = msgspec.convert(step["message"], PresenceMessage)
        state = follow_presence(state, message, message.at, limited_below=20)
        assert (state.presence, state.session) == (step["presence"], step["session"])
