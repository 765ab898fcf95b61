"""A vehicle on a bus, from connect to receipt: in memory and on Mosquitto with both protocols."""

from datetime import timedelta
from pathlib import Path

import pytest

from core.contracts.bus import (
    Answer,
    CommandKind,
    EventType,
    Operational,
    ParameterSetting,
    Presence,
    PresenceMessage,
    Reason,
    ReportedConfig,
    Result,
    SafeState,
    TelemetryBatch,
    VehicleEvent,
    VehicleStatus,
)
from core.contracts.topics import Topic
from tests.vehicle_sim.conftest import Rig
from tests.vehicle_sim.harness import (
    BOOST,
    BOOST_OFF,
    NOW,
    command,
    eventually,
    live,
    signed,
    sim_settings,
    vehicle_on,
    world_of,
)
from vehicle_sim.faults import Fault, FaultKind
from vehicle_sim.vehicle import World

HIGH = ParameterSetting("ENGINE_CONTROL", "power_mode", "HIGH")
CALM = {"running_s": 3600.0, "parked_s": 3600.0, "sample_s": 3600.0}
QUICK_RESEND = {"resend_s": 0.3}


@pytest.fixture
def world(rig: Rig, tmp_path: Path) -> World:
    return world_of(sim_settings(tmp_path, **CALM), rig.open_bus)


@pytest.fixture
def chatty(rig: Rig, tmp_path: Path) -> World:
    return world_of(sim_settings(tmp_path), rig.open_bus)


async def online(rig: Rig, boot: int) -> PresenceMessage:
    return await rig.platform.expect(
        PresenceMessage,
        lambda p: p.state is Presence.ONLINE and p.boot == boot,
        f"online in boot {boot}",
    )


async def test_at_every_connect_presence_config_and_status(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret):
        first = await online(rig, boot=1)
        config = await rig.platform.expect(ReportedConfig, lambda c: c.seq == 0, "config")
        assert len(config.values) == 6
        await rig.platform.expect(
            VehicleStatus, lambda s: s.operational is Operational.PARKED, "status"
        )
        await rig.platform.expect(VehicleEvent, lambda e: e.type is EventType.BOOT, "boot event")
    # Stopped in order: it says goodbye itself, in the same session.
    last = await rig.platform.expect(
        PresenceMessage, lambda p: p.state is Presence.OFFLINE, "goodbye"
    )
    assert last.session == first.session


@pytest.mark.parametrize("rig", ["memory", "5", "3.1.1", "amqtt"], indirect=True)
async def test_configure_deferred_parked_new_command_applied_proved(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        await online(rig, boot=1)
        vehicle.drive()
        await rig.platform.expect(
            VehicleStatus, lambda s: s.operational is Operational.RUNNING, "driving"
        )
        deferred = await rig.platform.command(command(1, BOOST, safe_state=SafeState.PARKED))
        assert (deferred.result, deferred.reason) == (Result.DEFERRED, Reason.UNSAFE_STATE)
        vehicle.park()
        heard = len(rig.platform.heard)
        await eventually(
            lambda: any(
                isinstance(m, VehicleStatus) and m.operational is Operational.PARKED
                for _, m in rig.platform.heard[heard:]
            ),
            "parked is reported at once",
        )
        assert not [c for c in rig.platform.of(ReportedConfig) if HIGH in c.values]
        applied = await rig.platform.command(command(2, BOOST, safe_state=SafeState.PARKED))
        assert applied.result is Result.APPLIED
        proof = await rig.platform.expect(ReportedConfig, lambda c: c.seq == 2, "proof")
        assert HIGH in proof.values
        # The digest by the letter of BUS, not by our own function.
        assert len(proof.digest) == 64
        assert proof.digest == vehicle.unit.config(NOW).digest
        await rig.platform.expect(
            VehicleStatus,
            lambda s: [a.service for a in s.active_services] == ["PERF_BOOST_50"],
            "active service in the status",
        )


async def test_switches_off_in_time_without_being_told(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret):
        await online(rig, boot=1)
        until = NOW + timedelta(seconds=0.5)
        wanted = command(1, BOOST, valid_until=until, revert=[BOOST_OFF])
        assert (await rig.platform.command(wanted)).result is Result.APPLIED
        off = await rig.platform.expect(
            VehicleEvent, lambda e: e.type is EventType.FEATURE_OFF, "switched off"
        )
        assert off.code == "PERF_BOOST_50"
        await eventually(
            lambda: HIGH not in rig.platform.of(ReportedConfig)[-1].values, "config says so"
        )


async def test_a_link_is_confirmed_by_the_driver(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret):
        await online(rig, boot=1)
        text = "Somebody wants to link this car to an app. Confirm code 482913?"
        await rig.platform.command(command(1, kind=CommandKind.DISPLAY, text=text))
        event = await rig.platform.expect(
            VehicleEvent, lambda e: e.type is EventType.LINK_CONFIRMED, "confirmed"
        )
        assert event.code == "482913"


async def test_offline_loses_the_line_and_finds_commands_waiting(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        first = await online(rig, boot=1)
        vehicle.go_offline(0.5)
        will = await rig.platform.expect(
            PresenceMessage, lambda p: p.state is Presence.OFFLINE, "last will"
        )
        assert will.session == first.session
        await eventually(lambda: not vehicle.connected, "disconnected")
        answer = await rig.platform.command(command(1, BOOST))
        assert answer.result is Result.APPLIED
        sessions = [
            p.session for p in rig.platform.of(PresenceMessage) if p.state is Presence.ONLINE
        ]
        assert len(sessions) == len(set(sessions)) == 2


async def test_each_reconnection_is_a_session_of_its_own(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        first = await online(rig, boot=1)
        rig.cut()
        will = await rig.platform.expect(
            PresenceMessage, lambda p: p.state is Presence.OFFLINE, "the last will"
        )
        assert will.session == first.session
        again = await rig.platform.expect(
            PresenceMessage,
            lambda p: p.state is Presence.ONLINE and p.session != first.session,
            "online in a session of its own",
        )
        assert again.boot == 1
        rig.cut()
        await rig.platform.expect(
            PresenceMessage,
            lambda p: p.state is Presence.OFFLINE and p.session == again.session,
            "the second session's will",
        )
        await eventually(lambda: vehicle.connected, "back")
        assert (await rig.platform.command(command(1, BOOST))).result is Result.APPLIED


async def test_reboot_while_applying_the_command_comes_again(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        await online(rig, boot=1)
        vehicle.set_faults([Fault(kind=FaultKind.REBOOT, times=1)])
        answer = await rig.platform.command(command(1, BOOST))
        assert answer.result is Result.APPLIED
        await online(rig, boot=2)


async def test_reboot_keeps_what_was_applied_and_answered(rig: Rig, world: World):
    wanted = live(command(1, BOOST, vin=rig.vin))
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        await online(rig, boot=1)
        await rig.platform.say(Topic.CMD, signed(wanted))
        await rig.platform.expect(ReportedConfig, lambda c: c.seq == 1, "applied")
        vehicle.reboot()
        await online(rig, boot=2)
        await rig.platform.say(Topic.CMD, signed(wanted))
        await eventually(lambda: len(rig.platform.answers_to(wanted)) == 2, "answered again")
        one, two = rig.platform.answers_to(wanted)
        assert one == two
        replayed = await rig.platform.command(command(1, BOOST_OFF))
        assert replayed.reason is Reason.REPLAYED
        assert HIGH in vehicle.unit.config(NOW).values


async def test_faults_of_telling(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        await online(rig, boot=1)
        vehicle.set_faults(
            [
                Fault(kind=FaultKind.SILENT_APPLY, times=1),
            ]
        )
        silent = live(command(1, BOOST, vin=rig.vin))
        await rig.platform.say(Topic.CMD, signed(silent))
        report = await rig.platform.command(command(2, kind=CommandKind.QUERY))
        assert report.result is Result.REPORT
        assert rig.platform.answers_to(silent) == []
        await rig.platform.expect(ReportedConfig, lambda c: HIGH in c.values, "found by query")


async def test_garbage_on_cmd_does_not_end_a_vehicle(rig: Rig, world: World):
    async with vehicle_on(world, rig.vin, rig.secret):
        await online(rig, boot=1)
        await rig.platform.say(Topic.CMD, b"\x00 not a command")
        await rig.platform.say(Topic.STORED, b"not a receipt")
        await rig.platform.expect(Answer, lambda a: a.command_id is None, "refusal without id")
        assert (await rig.platform.command(command(1, BOOST))).result is Result.APPLIED


# --- telemetry ------------------------------------------------------------------------------


async def test_telemetry_is_kept_until_stored_covers_it(rig: Rig, chatty: World):
    async with vehicle_on(chatty, rig.vin, rig.secret) as vehicle:
        await rig.platform.expect(TelemetryBatch, lambda b: b.n >= 5, "six batches")
        assert [b.n for b in rig.platform.of(TelemetryBatch)][:6] == [0, 1, 2, 3, 4, 5]
        kept = {(b.boot, b.n) for b in vehicle.outgoing.buffer.batches}
        assert {(1, n) for n in range(6)} <= kept
        await rig.platform.store(1, 4, missing=[2])
        await eventually(
            lambda: (1, 4) not in {(b.boot, b.n) for b in vehicle.outgoing.buffer.batches},
            "the receipt is heard",
        )
        kept = {(b.boot, b.n) for b in vehicle.outgoing.buffer.batches}
        assert kept & {(1, n) for n in range(5)} == {(1, 2)}
        await eventually(
            lambda: [b.n for b in rig.platform.of(TelemetryBatch)].count(2) >= 2,
            "the missing one is sent again",
        )


async def test_everything_unreceipted_comes_again_after_a_reconnect(rig: Rig, chatty: World):
    async with vehicle_on(chatty, rig.vin, rig.secret) as vehicle:
        await rig.platform.expect(TelemetryBatch, lambda b: b.n >= 3, "four batches")
        before = {b.n for b in rig.platform.of(TelemetryBatch)}
        vehicle.go_offline(0.3)
        await eventually(lambda: not vehicle.connected, "offline")
        made_offline = vehicle.outgoing.buffer.batches[-1].n + 2
        await eventually(lambda: vehicle.connected, "back")
        await eventually(
            lambda: all(
                [b.n for b in rig.platform.of(TelemetryBatch)].count(n) >= 2 for n in before
            ),
            "sent again",
        )
        await rig.platform.expect(TelemetryBatch, lambda b: b.n >= made_offline, "made offline")
        boots = {b.boot for b in rig.platform.of(TelemetryBatch)}
        assert boots == {1}


async def test_the_oldest_comes_again_after_silence(rig: Rig, tmp_path: Path):
    world = world_of(sim_settings(tmp_path, **CALM, **QUICK_RESEND), rig.open_bus)
    async with vehicle_on(world, rig.vin, rig.secret) as vehicle:
        await eventually(
            lambda: [b.n for b in rig.platform.of(TelemetryBatch)].count(0) >= 3, "again and again"
        )
        await rig.platform.store(1, 0)
        await eventually(lambda: len(vehicle.outgoing.buffer) == 0, "until there is a receipt")


async def test_telemetry_of_an_earlier_boot_outlives_it(rig: Rig, chatty: World):
    async with vehicle_on(chatty, rig.vin, rig.secret):
        await rig.platform.expect(TelemetryBatch, lambda b: b.n >= 1, "two batches")
    heard = len(rig.platform.heard)
    async with vehicle_on(chatty, rig.vin, rig.secret):
        await eventually(
            lambda: any(
                isinstance(m, TelemetryBatch) and (m.boot, m.n) == (1, 0)
                for _, m in rig.platform.heard[heard:]
            ),
            "the first boot's first batch again",
        )
        await rig.platform.expect(TelemetryBatch, lambda b: b.boot == 2, "the new boot's")
