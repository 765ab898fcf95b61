"""The pure decisions about foreign APIs: breaker, retry-after, whose vehicle, the file."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core.contracts.bus import Reason, Result
from core.errors import SettingsError
from core.ids import new_id
from gateway.foreign.apis import ForeignApi, api_of, load_apis, read_secret
from gateway.foreign.breaker import Breaker, BreakerState
from gateway.foreign.outcome import Down, Reply
from gateway.foreign.rules import Again, Completed, Taken, Told, Waits, after_order, after_poll
from gateway.foreign.rules import retry_after as wait_of

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
END = NOW + timedelta(seconds=300)
WAITS = Waits()


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_the_breaker_goes_round_as_DOMAIN_7_says() -> None:
    breaker = Breaker(failures=5, window_s=60, open_s=60)
    for second in (0, 1, 2, 61):
        breaker.failed(later(second), later(second))
    assert breaker.state(later(61)) is BreakerState.CLOSED  # two of the four are too old
    breaker.failed(later(61.5), later(61.5))
    assert breaker.retry_at(later(61.5)) is None
    for second in (61.6, 61.7):
        breaker.failed(later(second), later(second))
    assert breaker.state(later(62)) is BreakerState.OPEN
    assert breaker.retry_at(later(62)) == later(121.7)
    breaker.failed(later(60), later(63))  # was under way when it opened: changes nothing
    assert breaker.retry_at(later(121.6)) == later(121.7)
    assert breaker.state(later(121.7)) is BreakerState.HALF_OPEN
    assert breaker.retry_at(later(122)) is None  # the probe
    assert breaker.retry_at(later(122)) is not None  # and only one
    breaker.failed(later(61), later(122.5))  # so slow that the probe is out meanwhile
    assert breaker.retry_at(later(122.6)) == later(123.6)
    breaker.failed(later(122), later(123))
    assert breaker.retry_at(later(124)) == later(183)
    breaker.succeeded(later(122))
    assert breaker.state(later(184)) is BreakerState.HALF_OPEN
    assert breaker.retry_at(later(184)) is None
    breaker.succeeded(later(61))
    assert breaker.state(later(184)) is BreakerState.HALF_OPEN
    breaker.succeeded(later(184))
    assert breaker.state(later(184)) is BreakerState.CLOSED


def test_successes_in_between_take_no_failure_back() -> None:
    breaker = Breaker(failures=5, window_s=60, open_s=60)
    for second in range(5):
        assert breaker.state(later(second)) is BreakerState.CLOSED
        breaker.failed(later(second), later(second))
        breaker.succeeded(later(second))
    assert breaker.state(later(5)) is BreakerState.OPEN


def test_a_lost_probe_does_not_keep_it_half_open() -> None:
    breaker = Breaker(failures=1, window_s=60, open_s=60)
    breaker.failed(NOW, NOW)
    assert breaker.retry_at(later(60)) is None
    assert breaker.retry_at(later(100)) is not None
    assert breaker.retry_at(later(121)) is None


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("17", {}, 17),
        (format_datetime(later(40), usegmt=True), {}, 40),
        (format_datetime(later(-40), usegmt=True), {}, 0),
        (None, {"error": {"code": "RATE_LIMITED", "retryAfterSeconds": 25}}, 25),
        (None, {"error": {"retryAfterSeconds": True}}, 60),
        ("soon", {"error": "x"}, 60),
        ("99999999999999999999", {}, 86_400),
        (format_datetime(later(10**7), usegmt=True), {}, 86_400),
    ],
)
def test_how_long_a_429_asks_to_wait(
    header: str | None, body: dict[str, Any], seconds: float
) -> None:
    assert wait_of(Reply(429, body, header), NOW) == timedelta(seconds=seconds)


def test_what_follows_an_order() -> None:
    down = after_order(Down("ReadTimeout"), 3, END, NOW, WAITS)
    assert down == Again(later(8), "ReadTimeout")
    opened = after_order(Down("open", later(60)), 3, END, NOW, WAITS)
    assert opened == Again(later(60), "open")
    near_the_end = after_order(Down("open", later(400)), 3, END, NOW, WAITS)
    assert near_the_end == Again(END, "open")
    waits = after_order(Reply(429, {}, "30"), 0, END, NOW, WAITS)
    assert isinstance(waits, Again)
    assert waits.at == later(30)
    too_long = after_order(Reply(429, {}, "3000"), 0, END, NOW, WAITS)
    assert isinstance(too_long, Told)
    assert (too_long.result, too_long.reason) == (Result.DEFERRED, Reason.BUSY)
    assert too_long.quiet_until == later(3000)
    foreign_id = new_id()
    body = {
        "commandId": str(foreign_id),
        "requestId": "r",
        "status": "QUEUED",
        "timestamp": "2026-11-24T08:00:00Z",
    }
    taken = after_order(Reply(202, body), 0, END, NOW, WAITS)
    assert isinstance(taken, Taken)
    assert taken.foreign_id == foreign_id
    nothing_of_the_contract = after_order(Reply(200, {"ok": True}), 0, END, NOW, WAITS)
    assert isinstance(nothing_of_the_contract, Told)
    assert nothing_of_the_contract.reason is Reason.MALFORMED


def test_what_follows_a_look_at_a_command() -> None:
    def view(status: str, code: str | None = None) -> Reply:
        body = {
            "commandId": str(new_id()),
            "requestId": "r",
            "status": status,
            "timestamp": "2026-11-24T08:00:00Z",
            "errorCode": code,
        }
        return Reply(200, body)

    assert isinstance(after_poll(view("COMPLETED"), 0, END, NOW, WAITS), Completed)
    under_way = after_poll(view("IN_PROGRESS"), 0, END, NOW, WAITS)
    assert under_way == Again(later(5), "under way")
    refused = after_poll(view("FAILED", "CONFLICT"), 0, END, NOW, WAITS)
    assert isinstance(refused, Told)
    assert refused.reason is Reason.CONFLICT
    assert isinstance(after_poll(Down("x"), 0, END, later(419), WAITS), Again)
    given_up = after_poll(Down("x"), 0, END, later(420), WAITS)
    assert isinstance(given_up, Told)
    assert given_up.reason is Reason.EXPIRED
    # However late, what the API knows by then is what counts.
    assert isinstance(after_poll(view("COMPLETED"), 0, END, later(9999), WAITS), Completed)


def api(name: str, *vins: str) -> ForeignApi:
    return ForeignApi.model_validate(
        {
            "name": name,
            "base_url": "https://api.example/v1",
            "vins": vins,
            "auth": {"kind": "hmac", "key_id": "k", "secret_file": "s"},
        }
    )


def test_the_most_exact_pattern_has_the_vehicle() -> None:
    apis = [api("all", "*"), api("renault", "VF1*"), api("one", "VF1AURXRA00000017")]
    assert api_of("VF1AURXRA00000017", apis) == "one"
    assert api_of("VF1AURXRA00000025", apis) == "renault"
    assert api_of("WDBAURXRA00000025", apis) == "all"
    assert api_of("WDBAURXRA00000025", apis[1:]) is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "JSON"),
        ('{"apis": []}', "apis"),
        ('{"apis": [{"name": "Bad Name"}]}', "apis.0.name"),
        (
            json.dumps(
                {"apis": [{"name": "a", "base_url": "https://x.example", "auth": {"kind": "no"}}]}
            ),
            "apis.0.auth",
        ),
    ],
)
def test_a_bad_file_is_one_line(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "apis.json"
    file.write_text(content)
    with pytest.raises(SettingsError) as raised:
        load_apis(file)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(SettingsError, match="No such file"):
        load_apis(tmp_path / "none.json")


def test_names_are_given_once(tmp_path: Path) -> None:
    one = api("a", "*").model_dump(mode="json")
    file = tmp_path / "apis.json"
    file.write_text(json.dumps({"apis": [one, one]}))
    with pytest.raises(SettingsError, match="same name"):
        load_apis(file)
    file.write_text(json.dumps({"apis": [one]}))
    (loaded,) = load_apis(file)
    assert loaded.auth.secret_file == tmp_path / "s"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValidationError):
        api("A B", "*")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"paths": {"status": "/v/{VIN}/s"}}, "paths.status"),
        ({"paths": {"status": "/v/{}/s"}}, "paths.status"),
        ({"paths": {"status": "/v/{vin"}}, "paths.status"),
        ({"paths": {"status": "/v/{vin.x}"}}, "paths.status"),
        ({"paths": {"status": "/everybody"}}, "{vin} in it"),
        ({"paths": {"configure": "/v/{vin}/{command_id}"}}, "paths.configure"),
        ({"paths": {"command": "/v/{vin}"}}, "{vin} and {command_id} in it"),
        ({"paths": {"display": "/v"}}, "paths.display"),
        ({"vins": ["VF1*", "vf1*"]}, "'vf1*' fits no vehicle"),
        ({"vins": [""]}, "fits no vehicle"),
    ],
)
def test_a_path_or_pattern_that_never_fits_stops_the_start(
    tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    file = tmp_path / "apis.json"
    file.write_text(json.dumps({"apis": [{**api("a", "*").model_dump(mode="json"), **options}]}))
    with pytest.raises(SettingsError) as raised:
        load_apis(file)
    assert says in str(raised.value)


def test_a_secret_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("the secret\r\nwhat it is for\n")
    assert read_secret(file) == "the secret"
    for nothing in (b"", b"\nsecond line", b"\xff"):
        file.write_bytes(nothing)
        with pytest.raises(SettingsError, match="the secret"):
            read_secret(file)
