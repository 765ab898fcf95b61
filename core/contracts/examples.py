"""One message of every kind, with fixed ids and times: what the published contract shows."""

import base64
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
from joserfc.jwk import OKPKey

from core.contracts.bus import (
    ActiveService,
    Answer,
    Command,
    CommandKind,
    DisplayLevel,
    EventType,
    Operational,
    ParameterSetting,
    Presence,
    PresenceMessage,
    Reason,
    ReportedConfig,
    Result,
    SafeState,
    Sample,
    ServiceState,
    Stored,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
    digest_of,
)

VIN = "VF1AURRRA00000017"
NOW = datetime(2026, 11, 24, 8, 0, tzinfo=UTC)
SETTING = ParameterSetting("ENGINE_CONTROL", "power_mode", "HIGH")
BASE = ParameterSetting("ENGINE_CONTROL", "power_mode", "NORMAL")

# The private keys of RFC 8037 (appendix A.1) and RFC 8032 (section 7.1, test 2), printed there for
# everybody to see: good for examples and for nothing else.
KNOWN_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
FOREIGN_SEED = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
_TEST_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
_FOREIGN_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"


def identity(number: int) -> UUID:
    """The ``number``-th fixed id of the examples: a UUIDv7 of 2026-11-24."""
    return UUID(f"01939f5a-0000-7000-8000-{number:012x}")


def command(number: int, **changes: object) -> Command:
    """A good CONFIGURE with ``number`` as seq and in its id, but for ``changes``."""
    plain = Command(
        vin=VIN,
        command_id=identity(number),
        seq=number,
        kind=CommandKind.CONFIGURE,
        issued_at=NOW,
        expires_at=NOW + timedelta(minutes=5),
        service="PERF_BOOST_50",
        values=[SETTING],
        safe_state=SafeState.PARKED,
    )
    return msgspec.structs.replace(plain, **changes)


def known_key() -> OKPKey:
    """The key that signs the examples; publicly known, so never one to trust."""
    return _key(KNOWN_SEED, _TEST_PUBLIC)


def foreign_key() -> OKPKey:
    """Another publicly known key, which no vehicle of the examples trusts."""
    return _key(FOREIGN_SEED, _FOREIGN_PUBLIC)


def examples() -> dict[str, list[tuple[str, msgspec.Struct]]]:
    """Named messages by the name of their type in `core.contracts.bus`."""
    at = NOW + timedelta(seconds=2, milliseconds=250)
    return {
        "Command": _commands(),
        "Stored": [("all", Stored(17, 5120)), ("one missing", Stored(17, 5120, [5117]))],
        "Answer": _answers(at),
        "ReportedConfig": [
            (
                "after a purchase",
                ReportedConfig(at, 41, "2.4.1", "AURORA", [SETTING], digest_of([SETTING])),
            )
        ],
        "VehicleStatus": _statuses(at),
        "TelemetryBatch": [("one sample", _batch()), ("least", _least_batch())],
        "VehicleEvent": [
            ("feature on", VehicleEvent(identity(900), at, EventType.FEATURE_ON, "PERF_BOOST_50")),
            ("trouble code", VehicleEvent(identity(901), at, EventType.DTC_SET, "P0A0F", "hot")),
        ],
        "PresenceMessage": [
            (state.value.lower(), PresenceMessage(state, NOW, str(identity(800)), 17))
            for state in (Presence.ONLINE, Presence.OFFLINE)
        ],
    }


def _commands() -> list[tuple[str, msgspec.Struct]]:
    bare: dict[str, object] = {"service": None, "values": [], "safe_state": SafeState.ANY}
    until = NOW + timedelta(days=30)
    return [
        ("configure", command(41)),
        ("configure for a month", command(42, valid_until=until, revert_values=[BASE])),
        ("query", command(43, kind=CommandKind.QUERY, **bare)),
        ("test", command(44, kind=CommandKind.TEST, **bare)),
        (
            "display",
            command(
                45,
                kind=CommandKind.DISPLAY,
                text="Power boost is on",
                level=DisplayLevel.INFO,
                **bare,
            ),
        ),
    ]


def _answers(at: datetime) -> list[tuple[str, msgspec.Struct]]:
    moving = "the vehicle is RUNNING"
    return [
        ("applied", Answer(Result.APPLIED, at, identity(41), 41)),
        ("expired", Answer(Result.REJECTED, at, identity(41), 41, Reason.EXPIRED, "by its clock")),
        ("later", Answer(Result.DEFERRED, at, identity(41), 41, Reason.UNSAFE_STATE, moving)),
        ("unreadable", Answer(Result.REJECTED, at, None, None, Reason.BAD_SIGNATURE, "no JWS")),
    ]


def _statuses(at: datetime) -> list[tuple[str, msgspec.Struct]]:
    return [
        ("least", VehicleStatus(at, Operational.OFF, "2.4.1", 71.0)),
        (
            "parked",
            VehicleStatus(
                at,
                Operational.PARKED,
                "2.4.1",
                71.0,
                lat=40.4168,
                lon=-3.7038,
                odometer_km=18234.2,
                soc_pct=64.0,
                error_codes=["P0A0F"],
                latency_ms=48.0,
                packet_loss_pct=0.5,
                active_services=[ActiveService("PERF_BOOST_50", at, ServiceState.ACTIVE)],
            ),
        ),
    ]


def _batch() -> TelemetryBatch:
    sample = Sample(
        t=1795507200000,
        speed_kmh=87.5,
        soc_pct=64.0,
        odometer_km=18234.2,
        lat=40.4168,
        lon=-3.7038,
        heading_deg=271.0,
        battery_v=12.6,
        battery_temp_c=31.5,
        motor_temp_c=64.0,
        ambient_c=18.5,
        power_kw=22.1,
        state=Operational.RUNNING,
        extra={"tyre_fl_kpa": 241.0},
    )
    return TelemetryBatch(17, 5120, [sample])


def _least_batch() -> TelemetryBatch:
    return TelemetryBatch(17, 5121, [Sample(1795507201000)])


def _key(seed: str, public: str) -> OKPKey:
    d, x = (
        base64.urlsafe_b64encode(bytes.fromhex(part)).rstrip(b"=").decode()
        for part in (seed, public)
    )
    key = OKPKey.import_key({"kty": "OKP", "crv": "Ed25519", "d": d, "x": x})
    return OKPKey.import_key({**key.as_dict(private=True), "kid": key.thumbprint()})
