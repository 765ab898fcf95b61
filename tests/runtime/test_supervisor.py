"""The supervisor starts in order, says why a start failed, heals crashes and stops everything."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from caas.supervisor.child import ROTATE_BYTES, Child, ChildLog
from caas.supervisor.errors import AlreadyRunning, GaveUp, StartFailed
from caas.supervisor.processes import alive, wait_until
from caas.supervisor.supervisor import Supervisor
from tests.runtime.programs import PARENT, STUBBORN, Events, says, sleeper


async def test_starts_what_is_needed_first_and_stops_it_last(tmp_path: Path) -> None:
    events = Events()
    async with Supervisor(tmp_path, on_event=events) as supervisor:
        await supervisor.start_all(
            [
                sleeper(tmp_path, "web", needs=["api"]),
                sleeper(tmp_path, "api", needs=["db"]),
                sleeper(tmp_path, "db"),
            ]
        )
    assert events.before(("db", "ready"), ("api", "starting"))
    assert events.before(("api", "ready"), ("web", "starting"))
    assert events.before(("web", "stopped"), ("api", "stopped"))
    assert events.before(("api", "stopped"), ("db", "stopped"))


async def test_independent_children_start_side_by_side(tmp_path: Path) -> None:
    events = Events()
    # Each is ready only once the other runs: one after the other would never get there.
    one, two = sleeper(tmp_path, "one"), sleeper(tmp_path, "two")
    crossed = [
        Child("one", one.argv, ready=two.ready, start_deadline_s=20),
        Child("two", two.argv, ready=one.ready, start_deadline_s=20),
    ]
    async with Supervisor(tmp_path, on_event=events) as supervisor:
        await supervisor.start_all(crossed)
    assert ("one", "ready") in events.seen
    assert ("two", "ready") in events.seen


async def test_later_children_may_need_earlier_ones(tmp_path: Path) -> None:
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start_all([sleeper(tmp_path, "db")])
        await supervisor.start_all([sleeper(tmp_path, "api", needs=["db"])])
        with pytest.raises(ValueError, match="needs cache, which nobody starts"):
            await supervisor.start_all([sleeper(tmp_path, "web", needs=["cache"])])
        with pytest.raises(ValueError, match="db is already started"):
            await supervisor.start_all([sleeper(tmp_path, "db")])


async def test_a_failed_start_says_why_and_stops_the_rest(tmp_path: Path) -> None:
    events = Events()
    broken = Child(
        "broken",
        says("raise SystemExit('no such setting: CAAS_X')"),
        needs=["db"],
        ready=sleeper(tmp_path, "never").ready,
    )
    with pytest.raises(StartFailed) as caught:
        async with Supervisor(tmp_path, on_event=events) as supervisor:
            await supervisor.start_all([sleeper(tmp_path, "db"), broken])
    assert caught.value.name == "broken"
    assert caught.value.reason == "no such setting: CAAS_X"
    assert "exit code 1" in str(caught.value)
    assert ("broken", "failed") in events.seen
    assert ("db", "stopped") in events.seen
    assert not list((tmp_path / "run").glob("*.pid"))


async def test_a_child_that_is_never_ready_fails_at_its_deadline(tmp_path: Path) -> None:
    slow = Child(
        "slow",
        says("import time; print('warming up', flush=True); time.sleep(600)"),
        ready=sleeper(tmp_path, "never").ready,
        start_deadline_s=1,
    )
    with pytest.raises(StartFailed, match="slow did not start: not ready after 1 s"):
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.start_all([slow])


async def test_a_program_that_is_missing_fails_by_name(tmp_path: Path) -> None:
    with pytest.raises(StartFailed, match="cannot run /nowhere/broker: No such file"):
        async with Supervisor(tmp_path) as supervisor:
            await supervisor.start_all([Child("broker", ["/nowhere/broker"])])


async def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    events = Events()
    async with Supervisor(tmp_path, on_event=events) as supervisor:
        await supervisor.start_all([sleeper(tmp_path, "api")])
        first = supervisor.pid("api")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        async with asyncio.timeout(20):
            while events.seen.count(("api", "ready")) < 2:
                await asyncio.sleep(0.02)
        assert supervisor.pid("api") not in {first, None}
    assert "killed by SIGKILL" in events.details


async def test_a_child_that_keeps_dying_is_given_up(tmp_path: Path) -> None:
    events = Events()
    dying = Child("dying", says("raise SystemExit('the disk is full')"))
    async with Supervisor(tmp_path, on_event=events) as supervisor:
        await supervisor.start_all([dying])
        with pytest.raises(GaveUp, match=r"dying died 6 times in a row.*the disk is full"):
            await supervisor.wait()
    assert events.seen.count(("dying", "restarting")) == 5
    assert events.seen[-1] == ("dying", "failed")


async def test_a_child_that_runs_once_is_left_alone_when_it_ends(tmp_path: Path) -> None:
    events = Events()
    async with Supervisor(tmp_path, on_event=events) as supervisor:
        await supervisor.start_all([Child("once", says("pass"), restart=False)])
        async with asyncio.timeout(20):
            while ("once", "stopped") not in events.seen:
                await asyncio.sleep(0.02)
    assert events.seen.count(("once", "stopped")) == 1


async def test_stopping_ends_whole_groups_and_the_deaf(tmp_path: Path) -> None:
    deaf = sleeper(tmp_path, "deaf", program=STUBBORN)
    deaf = Child("deaf", deaf.argv, ready=deaf.ready, stop_deadline_s=0.2)
    pids: list[int | None] = []
    async with Supervisor(tmp_path) as supervisor:
        await supervisor.start_all([deaf, sleeper(tmp_path, "parent", program=PARENT)])
        grandchild = int((tmp_path / "parent.up").read_text(encoding="ascii"))
        pids += [supervisor.pid("deaf"), supervisor.pid("parent"), grandchild]
        assert all(pid and alive(pid) for pid in pids)
    assert wait_until(lambda: not any(pid and alive(pid) for pid in pids), 5)
    assert not list((tmp_path / "run").glob("*.pid"))


async def test_only_one_supervisor_works_on_a_folder(tmp_path: Path) -> None:
    async with Supervisor(tmp_path):
        with pytest.raises(AlreadyRunning, match=f"process {os.getpid()} already runs"):
            async with Supervisor(tmp_path):
                pass
    async with Supervisor(tmp_path):
        pass


async def test_a_display_that_broke_does_not_keep_children_alive(tmp_path: Path) -> None:
    def display(name: str, state: str, detail: str) -> None:
        raise BrokenPipeError

    pid = None
    async with Supervisor(tmp_path, on_event=display) as supervisor:
        await supervisor.start_all([sleeper(tmp_path, "api")])
        pid = supervisor.pid("api")
    assert pid is not None
    assert not alive(pid)


def test_a_log_keeps_runs_apart_and_is_rotated_when_large(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "api.log"
    log = ChildLog(path)
    for text in (b"first run\n", b"second\n\nrun\n"):
        fd = log.open()
        os.write(fd, text)
        os.close(fd)
    assert log.last_lines() == ["second", "run"]
    assert path.read_bytes().startswith(b"first run")
    path.write_bytes(b"x" * (ROTATE_BYTES + 1))
    os.close(log.open())
    assert path.stat().st_size == 0
    assert path.with_suffix(".log.1").stat().st_size == ROTATE_BYTES + 1
