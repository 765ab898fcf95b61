"""Commands good and bad, with the vehicle's state before and the answer that is due (BUS)."""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.clock import rfc3339
from core.contracts.bus import (
    MAX_INTEGER,
    Answer,
    CommandKind,
    DisplayLevel,
    ParameterSetting,
    Reason,
    Result,
    SafeState,
    encode,
)
from core.contracts.examples import (
    BASE,
    FOREIGN_SEED,
    KNOWN_SEED,
    NOW,
    SETTING,
    VIN,
    command,
    foreign_key,
    identity,
    known_key,
)
from core.contracts.jws import ALG, TYP

BEFORE = 40  # the highest seq verified, unless a case says another
NUMBER = 41  # the seq of a case's command, unless it says another
_ORDER_REST = 27742317777372353535851937790883648493  # the order of Ed25519's group less 2^252
OTHER_VIN = "VF1AURRRA00000018"
_BARE: Mapping[str, Any] = {"service": None, "values": [], "safe_state": SafeState.ANY}
_GOOD = command(NUMBER)
_NO_ZONE = "2026-11-24T08:05:00.000"
_NULL = {"module": "ENGINE_CONTROL", "parameter": "power_mode", "value": None}
_AFTERBURNER = ParameterSetting("ENGINE_CONTROL", "afterburner", "OFF")


def document() -> dict[str, Any]:
    """The content of commands.json."""
    known, foreign = known_key(), foreign_key()
    public = {**known.as_dict(private=False), "use": "sig", "alg": ALG}
    return {
        "about": "Commands and the answer due; README.md says how to run them.",
        "vehicle": {"vin": VIN, "model": "AURORA", "firmware": "2.4.1"},
        "trusted_keys": {"keys": [public]},
        "TEST_private_keys_never_trust_them": {
            "keys": [known.as_dict(private=True), foreign.as_dict(private=True)]
        },
        "cases": [*_good(), *_again(), *_late(), *_forged(), *_misdirected(), *_refused()],
    }


def _good() -> list[dict[str, Any]]:
    display: dict[str, Any] = {
        "kind": CommandKind.DISPLAY,
        "text": "Hello",
        "level": DisplayLevel.INFO,
        **_BARE,
    }
    upper = json.loads(encode(_GOOD)) | {"command_id": str(identity(NUMBER)).upper()}
    newer = json.loads(encode(_GOOD)) | {"colour": "a member this version does not know"}
    return [
        _case("configure", _signed(), Result.APPLIED, power_mode="HIGH"),
        _case("query", _signed(kind=CommandKind.QUERY, **_BARE), Result.REPORT),
        _case("test", _signed(kind=CommandKind.TEST, **_BARE), Result.REPORT),
        _case("display", _signed(**display), Result.APPLIED),
        _case("seq with a gap", _signed(1000), Result.APPLIED, power_mode="HIGH", number=1000),
        _case("an unknown header", _jws(newer, {"x": "y"}), Result.APPLIED, power_mode="HIGH"),
        _case("command_id in upper case", _jws(upper), Result.APPLIED, power_mode="HIGH"),
        _case("an unknown member", _jws(newer), Result.APPLIED, power_mode="HIGH"),
    ]


def _again() -> list[dict[str, Any]]:
    at = NOW - timedelta(seconds=30)
    applied = Answer(Result.APPLIED, at, identity(NUMBER), NUMBER)
    busy = Answer(Result.REJECTED, at, identity(NUMBER), NUMBER, Reason.BUSY, "busy")
    other = identity(700)
    replayed: dict[str, Any] = {"reason": Reason.REPLAYED, "before": NUMBER, "highest": NUMBER}
    return [
        _case("replayed: its last answer again", _signed(), Result.APPLIED,
              before=NUMBER, answers=[applied]),
        _case("replayed: its last refusal again", _signed(), Result.REJECTED, Reason.BUSY,
              before=NUMBER, answers=[busy]),
        _case("replayed: the answer again even after its expiry", _signed(), Result.APPLIED,
              now=NOW + timedelta(hours=1), before=NUMBER, answers=[applied]),
        _case("replayed: same seq under another id", _signed(command_id=other), Result.REJECTED,
              command_id=other, **replayed),
        _case("replayed and expired: replayed", _signed(command_id=other), Result.REJECTED,
              command_id=other, now=NOW + timedelta(hours=1), **replayed),
        _case("reordered: below the highest seq", _signed(39), Result.REJECTED, number=39,
              **replayed),
    ]  # fmt: skip


def _late() -> list[dict[str, Any]]:
    end, instant = _GOOD.expires_at, timedelta(milliseconds=1)
    day = timedelta(days=1)
    return [
        _case("expired", _signed(), Result.REJECTED, Reason.EXPIRED, now=end + day),
        _case("expired at this instant", _signed(), Result.REJECTED, Reason.EXPIRED, now=end),
        _case("one millisecond left", _signed(), Result.APPLIED, now=end - instant,
              power_mode="HIGH"),
    ]  # fmt: skip


def _forged() -> list[dict[str, Any]]:
    good = _signed()
    head, body, signature = good.split(".")
    longer = _signed(expires_at=NOW + timedelta(days=365)).split(".")[1]
    known = known_key().kid
    unsigned = _part({"alg": "none", "kid": known, "typ": TYP})
    public = base64.urlsafe_b64decode(str(known_key().as_dict(private=False)["x"]) + "=")
    forgeries = {
        "truncated: no signature": f"{head}.{body}",
        "truncated: an empty signature": f"{head}.{body}.",
        "truncated: half a signature": good[:-43],
        "re-signed by a foreign key under the trusted kid": _jws(encode(_GOOD), seed=FOREIGN_SEED),
        "re-signed by a foreign key under its own kid": _jws(
            encode(_GOOD), {"kid": foreign_key().kid}, seed=FOREIGN_SEED
        ),
        "unknown kid": _jws(encode(_GOOD), {"kid": "nobody"}),
        "altered: expires a year later": f"{head}.{longer}.{signature}",
        "altered: another header": f"{_part({'alg': ALG, 'typ': TYP, 'kid': known})}.{body}."
        + signature,
        "alg none": f"{unsigned}.{body}.",
        "alg none with the old signature": f"{unsigned}.{body}.{signature}",
        "HS256 with the public key as secret": _hs256(body, public),
        "another typ": _jws(encode(_GOOD), {"typ": "JWT"}),
        "no typ": _jws(encode(_GOOD), {"typ": None}),
        "no kid": _jws(encode(_GOOD), {"kid": None}),
        "a kid that is no text": _jws(encode(_GOOD), {"kid": 7}),
        "re-signed by a foreign key that the header brings along": _jws(
            encode(_GOOD), {"jwk": foreign_key().as_dict(private=False)}, seed=FOREIGN_SEED
        ),
        "an extension that must be understood": _jws(
            encode(_GOOD), {"crit": ["b64"], "b64": False}
        ),
        "alg by another name": _jws(encode(_GOOD), {"alg": "Ed25519"}),
        "a signature out of range (RFC 8032, 5.1.7)": f"{head}.{body}.{_out_of_range(signature)}",
        "a padded signature": f"{good}==",
        "a fourth part": f"{good}.e30",
    }
    nothing: dict[str, Any] = {"command_id": None, "number": None, "highest": BEFORE}
    unreadable = {"empty": "", "no JWS": "hello", "JSON, not signed": encode(_GOOD).decode()}
    bad = (Result.REJECTED, Reason.BAD_SIGNATURE)
    return [
        *(_case(name, payload, *bad, highest=BEFORE) for name, payload in forgeries.items()),
        _case("truncated: half a body", good[: len(head) + len(body) // 2], *bad, **nothing),
        *(_case(name, payload, *bad, **nothing) for name, payload in unreadable.items()),
    ]


def _out_of_range(signature: str) -> str:
    """The same signature with its scalar raised by the order of the group."""
    both = base64.urlsafe_b64decode(signature + "==")
    scalar = int.from_bytes(both[32:], "little") + 2**252 + _ORDER_REST
    return _part(both[:32] + scalar.to_bytes(32, "little"))


def _misdirected() -> list[dict[str, Any]]:
    wrong = (Result.REJECTED, Reason.WRONG_VEHICLE)
    return [_case("wrong vehicle", _signed(vin=OTHER_VIN), *wrong, highest=BEFORE)]


def _refused() -> list[dict[str, Any]]:
    content = json.loads(encode(_GOOD))
    no_kind = {name: value for name, value in content.items() if name != "kind"}
    malformed = (Result.REJECTED, Reason.MALFORMED)
    unread: dict[str, Any] = {"highest": BEFORE}
    nothing: dict[str, Any] = {"command_id": None, "number": None, **unread}

    def setting(name: str, value: str) -> str:
        return _signed(values=[ParameterSetting("ENGINE_CONTROL", name, value)])

    return [
        _case("malformed: signed, not JSON", _jws(b"hello"), *malformed, **nothing),
        _case("malformed: signed, an array", _jws(b"[]"), *malformed, **nothing),
        _case("malformed: no kind", _jws(no_kind), *malformed, **unread),
        _case("malformed: unknown kind", _jws(content | {"kind": "DANCE"}), *malformed, **unread),
        _case("malformed: seq is no number", _jws(content | {"seq": "41"}), *malformed,
              number=None, **unread),
        _case("malformed: seq is not above 0", _jws(content | {"seq": 0}), *malformed, number=0,
              command_id=identity(NUMBER), **unread),
        _case("malformed: seq is below 0", _jws(content | {"seq": -1}), *malformed, number=None,
              **unread),
        _case("malformed: seq beyond 2^53 - 1", _jws(content | {"seq": MAX_INTEGER + 1}),
              *malformed, number=None, **unread),
        _case("malformed: command_id is no UUID", _jws(content | {"command_id": "x"}), *malformed,
              command_id=None, **unread),
        _case("malformed: a time without a zone", _jws(content | {"expires_at": _NO_ZONE}),
              *malformed, **unread),
        _case("malformed: an unknown safe_state", _jws(content | {"safe_state": "SOMETIMES"}),
              *malformed, **unread),
        _case("malformed: a value that is null", _jws(content | {"values": [_NULL]}), *malformed,
              **unread),
        _case("malformed: signed, not UTF-8", _jws(b'{"vin": "\xff"}'), *malformed, **nothing),
        _case("malformed: CONFIGURE without values", _signed(values=[]), *malformed),
        _case("malformed: DISPLAY without a text", _signed(kind=CommandKind.DISPLAY, **_BARE),
              *malformed),
        _case("unknown parameter", setting("afterburner", "ON"), Result.REJECTED,
              Reason.UNKNOWN_PARAMETER),
        _case("invalid value", setting("power_mode", "LUDICROUS"), Result.REJECTED,
              Reason.INVALID_VALUE),
        _case("invalid value: two of one parameter", _signed(values=[SETTING, BASE]),
              Result.REJECTED, Reason.INVALID_VALUE),
        _case("unknown parameter to go back to", _signed(revert_values=[_AFTERBURNER]),
              Result.REJECTED, Reason.UNKNOWN_PARAMETER),
        _case("not while it moves", _signed(), Result.DEFERRED, Reason.UNSAFE_STATE,
              operational="RUNNING"),
    ]  # fmt: skip


def _case(
    name: str,
    payload: str,
    result: Result,
    reason: Reason | None = None,
    *,
    number: int | None = NUMBER,
    command_id: UUID | str | None = "by number",
    before: int = BEFORE,
    highest: int | None = None,
    answers: list[Answer] | None = None,
    now: datetime = NOW,
    operational: str = "PARKED",
    power_mode: str = "NORMAL",
) -> dict[str, Any]:
    if command_id == "by number":
        command_id = identity(NUMBER if number is None else number)
    return {
        "name": name,
        "before": {
            "now": rfc3339(now),
            "operational": operational,
            "highest_seq": before,
            "answers": [json.loads(encode(answer)) for answer in answers or []],
            "power_mode": "NORMAL",
        },
        "payload": payload,
        "expect": {
            "command_id": None if command_id is None else str(command_id),
            "seq": number,
            "result": result.value,
            "reason": None if reason is None else reason.value,
            "highest_seq": (number or before) if highest is None else highest,
            "power_mode": power_mode,
        },
    }


def _signed(number: int = NUMBER, **changes: object) -> str:
    return _jws(encode(command(number, **changes)))


def _jws(
    content: bytes | dict[str, Any],
    header: Mapping[str, Any] | None = None,
    *,
    seed: str = KNOWN_SEED,
) -> str:
    # By hand, for `core.contracts.jws.sign` makes good ones only.
    full = {"alg": ALG, "kid": known_key().kid, "typ": TYP} | dict(header or {})
    kept = {name: value for name, value in full.items() if value is not None}
    signed = f"{_part(kept)}.{_part(content)}"
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed))
    return f"{signed}.{_part(key.sign(signed.encode()))}"


def _hs256(body: str, secret: bytes) -> str:
    signed = f"{_part({'alg': 'HS256', 'kid': known_key().kid, 'typ': TYP})}.{body}"
    return f"{signed}.{_part(hmac.digest(secret, signed.encode(), hashlib.sha256))}"


def _part(content: bytes | dict[str, Any]) -> str:
    if not isinstance(content, bytes):
        content = json.dumps(content, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
