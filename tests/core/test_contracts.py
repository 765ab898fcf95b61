"""The bus contract: what is read, what is refused, what is signed."""

import contextlib
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as jose
from joserfc.jwk import KeySet, OctKey, OKPKey

from core.contracts import jws
from core.contracts.bus import (
    Answer,
    Command,
    CommandKind,
    DisplayLevel,
    ParameterSetting,
    PresenceMessage,
    ReportedConfig,
    Stored,
    TelemetryBatch,
    Unusable,
    VehicleEvent,
    VehicleStatus,
    check_time,
    decode,
    digest_of,
    encode,
    fits_digest,
)
from core.contracts.topics import MAX_PAYLOAD_BYTES, Topic, filter_of, parse_topic, topic_of
from core.ids import new_id

VIN = "VF1AURRRA00000017"
PREFIX = "caas/v1/vehicles"
NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
UPWARD_TYPES = [
    Answer,
    ReportedConfig,
    VehicleStatus,
    TelemetryBatch,
    VehicleEvent,
    PresenceMessage,
]


def command(**changes: Any) -> Command:
    fields: dict[str, Any] = {
        "vin": VIN,
        "command_id": new_id(),
        "seq": 41,
        "kind": CommandKind.CONFIGURE,
        "issued_at": NOW,
        "expires_at": NOW + timedelta(minutes=5),
        "service": "PERF_BOOST_50",
        "values": [ParameterSetting("ENGINE_CONTROL", "power_mode", "HIGH")],
    }
    return Command(**{**fields, **changes})


def public(*keys: OKPKey) -> KeySet:
    return KeySet.import_key_set({"keys": [key.as_dict(private=False) for key in keys]})


@pytest.mark.parametrize("topic", list(Topic))
def test_a_topic_is_read_back_as_it_was_made(topic: Topic) -> None:
    assert parse_topic(PREFIX, topic_of(PREFIX, VIN, topic)) == (VIN, topic)
    assert filter_of(PREFIX, topic) == f"caas/v1/vehicles/+/{topic}"


@pytest.mark.parametrize(
    "topic",
    ["", "/", f"{PREFIX}/{VIN}", f"{PREFIX}/{VIN}/cmd/x", f"{PREFIX}/short/cmd", f"x/{VIN}/cmd"],
)
def test_any_other_topic_is_none(topic: str) -> None:
    assert parse_topic(PREFIX, topic) is None


def test_a_command_is_verified_with_the_key_that_signed_it() -> None:
    old, new = jws.new_signing_key(), jws.new_signing_key()
    sent = command()
    assert jws.verify(jws.sign(sent, old), public(new, old)) == sent
    assert jws.verify(jws.sign(sent, new), public(new, old)) == sent


def test_the_header_is_the_one_of_the_contract() -> None:
    key = jws.new_signing_key()
    header = jose.extract_compact(jws.sign(command(), key)).headers()
    assert header == {"alg": "EdDSA", "kid": key.kid, "typ": "caas-command+json"}


def test_a_foreign_key_a_changed_byte_and_another_algorithm_are_bad_signatures() -> None:
    key, stranger = jws.new_signing_key(), jws.new_signing_key()
    token = jws.sign(command(), key)
    header, payload, signature = token.split(b".")
    hmac = jose.serialize_compact(
        {"alg": "HS256", "typ": jws.TYP, "kid": "x"},
        encode(command()),
        OctKey.import_key("secret-secret-secret"),
    ).encode()
    forged = [
        jws.sign(command(), stranger),
        b".".join([header, payload[:-2] + b"AA", signature]),
        b".".join([header, payload, signature[:-4] + b"AAAA"]),
        b".".join([header, payload]),
        hmac,
        b"",
        b"\xff\xfe.\x00.x",
    ]
    for bad in forged:
        with pytest.raises(jws.BadSignature):
            jws.verify(bad, public(key))


def test_what_only_display_has_is_left_out_elsewhere() -> None:
    plain = json.loads(encode(command()))
    assert "text" not in plain
    assert plain["issued_at"] == "2026-11-24T08:00:00.000Z"
    shown = json.loads(
        encode(command(kind=CommandKind.DISPLAY, values=[], text="hi", level=DisplayLevel.INFO))
    )
    assert (shown["text"], shown["level"]) == ("hi", "INFO")


def test_the_digest_is_over_sorted_lines_with_json_values() -> None:
    values = [
        ParameterSetting("TRACTION_CONTROL", "snow_mode_available", 1),
        ParameterSetting("ENGINE_CONTROL", "power_mode", "HIGH"),
        ParameterSetting("ADAS", "autonomous_highway_enabled", False),
    ]
    lines = (
        "ADAS.autonomous_highway_enabled=false\n"
        'ENGINE_CONTROL.power_mode="HIGH"\n'
        "TRACTION_CONTROL.snow_mode_available=1"
    )
    assert digest_of(values) == hashlib.sha256(lines.encode()).hexdigest()
    assert digest_of(reversed(values)) == digest_of(values)


@pytest.mark.parametrize("written", ["4", "4.0", "4e0"])
def test_one_number_has_one_digest_and_fits_as_any_language_writes_it(written: str) -> None:
    digest = hashlib.sha256(f"M.p={written if written != '4e0' else '4'}".encode()).hexdigest()
    text = (
        '{"at": "2026-11-24T08:00:00Z", "seq": 1, "firmware": "2.4.1", "model": "AURORA",'
        f' "values": [{{"module": "M", "parameter": "p", "value": {written}}}],'
        f' "digest": "{digest}"}}'
    )
    config = decode(ReportedConfig, text.encode())
    assert digest_of(config.values) == hashlib.sha256(b"M.p=4").hexdigest()
    assert fits_digest(config)
    assert not fits_digest(msgspec.structs.replace(config, digest="0" * 64))


def test_text_beyond_ascii_is_digested_as_it_is() -> None:
    values = [ParameterSetting("M", "p", 'ñ"€')]
    assert digest_of(values) == hashlib.sha256('M.p="ñ\\"€"'.encode()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "payload", "reason"),
    [
        (Answer, b"{", "NOT_JSON"),
        (Answer, b"\xff", "NOT_JSON"),
        (Answer, b"[]", "MALFORMED"),
        (Answer, b'{"result": "MAYBE", "at": "2026-11-24T08:00:00Z"}', "MALFORMED"),
        (PresenceMessage, b'{"state":"ONLINE","at":"2026-11-24T08:00:00","session":"s","boot":1}',
         "MALFORMED"),
        (TelemetryBatch, b'{"boot": 1, "n": 0, "samples": []}', "MALFORMED"),
        (VehicleStatus, (b'{"at":"2026-11-24T08:00:00Z","operational":"PARKED","firmware":"2",'
         b'"signal_pct":101}'), "MALFORMED"),
        (Answer, b" " * (MAX_PAYLOAD_BYTES + 1), "TOO_LARGE"),
    ],
)  # fmt: skip
def test_an_unusable_message_is_refused_with_its_reason(
    kind: type[Any], payload: bytes, reason: str
) -> None:
    with pytest.raises(Unusable) as error:
        decode(kind, payload)
    assert error.value.code == reason


@given(payload=st.binary(max_size=200), kind=st.sampled_from(UPWARD_TYPES))
def test_no_bytes_break_the_decoder(payload: bytes, kind: type[Any]) -> None:
    with contextlib.suppress(Unusable):
        decode(kind, payload)


def test_a_time_more_than_a_day_ahead_is_unusable() -> None:
    check_time(NOW + timedelta(hours=24), NOW)
    with pytest.raises(Unusable) as error:
        check_time(NOW + timedelta(hours=24, seconds=1), NOW)
    assert error.value.code == "FROM_THE_FUTURE"


def test_unknown_members_are_tolerated_and_defaults_left_out() -> None:
    message = decode(Stored, b'{"boot": 17, "n": 5120, "later": true}')
    assert encode(message) == b'{"boot":17,"n":5120}'
    assert encode(Stored(17, 5120, [5117])) == b'{"boot":17,"n":5120,"missing":[5117]}'


def test_a_status_always_has_its_lists_and_is_read_without_them() -> None:
    least = (
        b'{"at":"2026-11-24T08:00:00.000Z","operational":"PARKED","firmware":"2","signal_pct":1}'
    )
    status = decode(VehicleStatus, least)
    assert (status.error_codes, status.active_services) == ([], [])
    written = json.loads(encode(status))
    assert (written["error_codes"], written["active_services"]) == ([], [])
    assert "lat" not in written


def test_limited_is_no_presence_a_vehicle_can_have() -> None:
    said = b'{"state":"LIMITED","at":"2026-11-24T08:00:00.000Z","session":"s","boot":1}'
    with pytest.raises(Unusable) as error:
        decode(PresenceMessage, said)
    assert error.value.code == "MALFORMED"
