"""A foreign API that answers what nobody can carry: it is refused, and nothing spins or sticks."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from core.clock import SystemClock
from core.contracts.bus import Answer, Reason, Result, VehicleStatus
from core.contracts.iot_api import StatusView
from core.settings import load
from gateway.foreign.apis import ForeignApi
from gateway.foreign.body import read_body
from gateway.foreign.breaker import Breaker
from gateway.foreign.client import ForeignClient
from gateway.foreign.outcome import Down
from gateway.foreign.settings import ForeignSettings
from gateway.foreign.translate import Seen, fault_of, learn
from tests.foreign.desk import STATUS, Desk
from tests.foreign.world import World

NOW = datetime(2026, 11, 24, 8, tzinfo=UTC)
SEEN = Seen("AURORA", "2", 0, None, None, None, False, None, 0, None, None, None)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"nonsense",
        b"[1]",
        b'{"a": NaN}',
        b'{"a": [-Infinity]}',
        b'{"a": 1e400}',
        b'{"a": 9007199254740992}',
        b'{"a": 1' + b"0" * 5000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"a": "\xff"}',
        '{"a": 1}'.encode("utf-16"),
    ],
)
def test_what_is_no_answer_of_any_contract(raw: bytes) -> None:
    assert read_body(raw) == {}


def test_texts_are_made_fit() -> None:
    raw = b'\xef\xbb\xbf{"a\\u0000": ["\\ud800x", "\\ud83d\\ude97", true, 1.5, -9007199254740991]}'
    assert read_body(raw) == {"a\ufffd": ["\ufffdx", "\U0001f697", True, 1.5, -9007199254740991]}


async def test_an_odd_refusal_is_told_once(world: World) -> None:
    await world.hears(VehicleStatus)
    for code, text in (("X\\u0000", "a\\u0000b"), ("X", "a\\ud800b")):
        raw = f'{{"error": {{"code": "{code}", "message": "{text}"}}}}'.encode()
        world.api.always["configure"] = (422, raw)
        calls = world.api.calls.count("configure")
        answer = await world.answer(await world.order())
        assert (answer.result, answer.reason) == (Result.REJECTED, Reason.INCOMPATIBLE)
        assert "a\ufffdb" in (answer.detail or "")
        assert world.api.calls.count("configure") == calls + 1
    del world.api.always["configure"]
    world.api.mood = "a\x00b" + "c" * 10_000
    failed = await world.order()
    answer = await world.hears(
        Answer, lambda a: a.command_id == failed.command_id and a.reason is not None
    )
    assert answer.reason is Reason.FIRMWARE_ERROR
    assert len(answer.detail or "") < 400
    world.api.mood = "done"
    await world.answer(await world.order(), Result.APPLIED)


@pytest.mark.parametrize(
    "answer", [httpx.Response(200, content=b"{"), RuntimeError("a defect of ours")]
)
async def test_a_step_that_fails_is_put_off_further_each_time(
    desk: Desk, answer: httpx.Response | RuntimeError
) -> None:
    def give(_request: httpx.Request) -> httpx.Response:
        if isinstance(answer, RuntimeError):
            raise answer
        return answer

    desk.settings = load(ForeignSettings, late_s=8)
    desk.shows()
    desk.accepts()
    command = await desk.order(lives_s=10)
    await desk.step()
    desk.gives["command"] = give
    waits: list[float] = []
    while len(await desk.answers()) < 2:
        before = desk.calls.count("command")
        (row,) = await desk.rows("SELECT due_at, tries FROM gateway.foreign_command")
        waits.append((row["due_at"] - desk.clock.now()).total_seconds())
        desk.clock.advance(waits[-1])
        await desk.step()
        assert desk.calls.count("command") == before + 1
    if isinstance(answer, RuntimeError):
        assert waits[1:] == [1, 2, 4, 8]
    assert len(waits) < 9
    end = (await desk.answers())[1]
    assert (end.command_id, end.seq) == (command.command_id, 1)
    assert (end.result, end.reason) == (Result.REJECTED, Reason.EXPIRED)
    assert desk.clock.now() >= command.expires_at + timedelta(seconds=8)
    assert "defect" not in (end.detail or "")


async def test_a_look_that_fails_is_put_off_further_each_time(desk: Desk) -> None:
    def give(_request: httpx.Request) -> httpx.Response:
        raise RuntimeError("a defect of ours")

    desk.gives["status"] = give
    waits: list[float] = []
    for _ in range(4):
        await desk.step()
        await desk.step()  # nothing is due yet
        waits.append(((await desk.vehicle())["poll_at"] - desk.clock.now()).total_seconds())
        desk.clock.advance(waits[-1])
    assert waits == [1, 2, 4, 8]
    assert desk.calls == ["status"] * 4
    desk.shows()
    await desk.step()
    assert (await desk.vehicle())["look_tries"] == 0
    assert any(isinstance(item, VehicleStatus) for item in await desk.said())


async def test_a_status_of_no_contract_says_nothing(desk: Desk) -> None:
    for value in ("NaN", "1" + "0" * 400, "9007199254740993", "[" * 50_000):
        body = json.dumps(STATUS)[:-1] + f', "reportedConfiguration": {{"A.b": {value}}}}}'
        answer = httpx.Response(200, content=body.encode())
        desk.gives["status"] = lambda _, answer=answer: answer
        await desk.step()
        desk.clock.advance(60)
    assert desk.calls.count("status") == 4
    assert await desk.said() == []


@pytest.mark.parametrize(
    ("members", "fits"),
    [
        ({}, True),
        ({"reportedConfiguration": {f"M.p{n}": "x" * 200 for n in range(2000)}}, False),
        ({"diagnostics": {"firmwareVersion": "x" * 300_000}}, False),
    ],
)
def test_a_status_that_the_bus_could_not_carry(members: dict[str, Any], fits: bool) -> None:
    status = StatusView.model_validate({**STATUS, **members})
    assert (fault_of(SEEN, status, None, NOW) is None) is fits


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
async def test_a_status_of_no_time_that_can_be_says_nothing(desk: Desk, at: str) -> None:
    service = {"serviceId": "A", "activationDate": at, "status": "ACTIVE"}
    for members in ({"reportedAt": at}, {"activeServices": [service]}):
        answer = httpx.Response(200, json={**STATUS, **members})
        desk.gives["status"] = lambda _, answer=answer: answer
        await desk.step()
        desk.clock.advance(60)
    assert desk.calls.count("status") == 2
    assert await desk.said() == []


def test_only_names_that_a_command_can_have_are_reported() -> None:
    reported = {"A.b": 1, "only": 1, "a b.c d": 2, "A.b\nC.d=1": 3}
    status = StatusView.model_validate({**STATUS, "reportedConfiguration": reported})
    assert learn(SEEN, status, {}, NOW).values == {"A.b": 1}


@pytest.mark.parametrize("token", ['"t\u00f6ken"', '"a b"', '""', "7", "null"])
async def test_a_token_that_no_header_can_carry(tmp_path: Path, token: str) -> None:
    (tmp_path / "s").write_text("x")
    auth = {"kind": "oauth2", "client_id": "c", "secret_file": str(tmp_path / "s")}
    api = ForeignApi.model_validate({"name": "x", "base_url": "https://api.example", "auth": auth})
    raw = f'{{"access_token": {token}, "expires_in": "NaN"}}'.encode()
    give = httpx.MockTransport(lambda _: httpx.Response(200, content=raw))
    breaker = Breaker(failures=5, window_s=60, open_s=60)
    calls = ForeignClient(api, SystemClock(), breaker, give)
    outcome = await calls.health("VF1AURXRA00000017")
    await calls.close()
    assert isinstance(outcome, Down)
    assert "no token in the answer" in outcome.why
