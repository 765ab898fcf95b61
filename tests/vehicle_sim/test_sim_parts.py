"""The parts of a simulated vehicle that need no broker: firmware, body, buffer, files, keys."""

from random import Random

import msgspec
import pytest
from joserfc.jwk import KeySet

from core.contracts import jws
from core.contracts.bus import Operational, ParameterSetting, Reason, Stored
from core.errors import NotFound
from tests.vehicle_sim.harness import BOOST, KEY, KEYS, NOW, command, signed
from vehicle_sim.buffer import Kept, TelemetryBuffer
from vehicle_sim.driver import Driver
from vehicle_sim.faults import Fault, FaultKind
from vehicle_sim.firmware import firmware_of, seed_catalogue
from vehicle_sim.fleet import BadFleetFile, read_fleet
from vehicle_sim.keys import KeyRing, KeysUnavailable
from vehicle_sim.physics import Car, Features
from vehicle_sim.route import MADRID
from vehicle_sim.state import Saved, UnitState
from vehicle_sim.store import VehicleStore

AURORA = firmware_of(seed_catalogue(), "AURORA")

# The table of DOMAIN 4, "Seed mapping", typed in again.
SEED_MAPPING = [
    ("PERF_BOOST_50", "ENGINE_CONTROL", "power_mode", "HIGH", "NORMAL"),
    ("HIGHWAY_AUTOPILOT", "ADAS", "autonomous_highway_enabled", True, False),
    ("ADVANCED_CLIMATE", "HVAC", "climate_zones", 4, 1),
    ("OFF_ROAD", "TRACTION_CONTROL", "off_road_mode", True, False),
    ("OFF_ROAD", "TRACTION_CONTROL", "snow_mode_available", 1, 0),
    ("PREMIUM_ENTERTAINMENT", "INFOTAINMENT", "premium_streaming", True, False),
]


# --- firmware -------------------------------------------------------------------------------


@pytest.mark.parametrize(("option", "module", "parameter", "on", "off"), SEED_MAPPING)
def test_seed_mapping(option, module, parameter, on, off):
    found = AURORA.parameters[f"{module}.{parameter}"]
    assert (repr(found.on), repr(found.off)) == (repr(on), repr(off))
    assert found in AURORA.options[option].parameters
    for value in (on, off):
        assert AURORA.accept([ParameterSetting(module, parameter, value)])


def test_seed_platforms():
    catalogue = seed_catalogue()
    assert {name: (m.engine, m.firmware) for name, m in catalogue.models.items()} == {
        "AURORA": ("ELECTRIC", "2.4.1"),
        "BOREAL": ("HYBRID", "2.2.0"),
        "CIERZO": ("PETROL", "2.4.1"),
    }
    assert len(AURORA.options) == 5
    assert set(AURORA.options) - set(firmware_of(catalogue, "BOREAL").options) == {
        "HIGHWAY_AUTOPILOT"
    }
    assert set(AURORA.options) - set(firmware_of(catalogue, "CIERZO").options) == {
        "ADVANCED_CLIMATE"
    }
    # A firmware update brings what the hardware always had; 2.10 is newer than 2.9.
    assert "HIGHWAY_AUTOPILOT" in firmware_of(catalogue, "BOREAL", "2.10.0").options


def test_unknown_model():
    with pytest.raises(NotFound, match="DACIA"):
        firmware_of(seed_catalogue(), "DACIA")


# --- body -----------------------------------------------------------------------------------


def drive(seconds: float, features: Features, seed: int = 3) -> Car:
    car = Car(AURORA.hardware, Random(seed))
    car.drive()
    car.advance(seconds, features)
    return car


def test_the_same_seed_drives_the_same_way():
    one, two = drive(900, Features()), drive(900, Features())
    assert one.sample(NOW) == two.sample(NOW)
    assert drive(900, Features(), seed=4).sample(NOW) != one.sample(NOW)


def test_a_drive_is_believable():
    car = Car(AURORA.hardware, Random(3))
    start, charge = car.odometer_km, car.soc_pct
    car.drive()
    speeds: list[float] = []
    for _ in range(360):
        car.advance(5, Features())
        sample = car.sample(NOW)
        assert sample.lat is not None
        assert sample.lon is not None
        assert 40.3 < sample.lat < 40.55
        assert -3.8 < sample.lon < -3.55
        speeds.append(car.speed_kmh)
    driven = car.odometer_km - start
    assert 5 < driven < 60  # half an hour in and around a city
    assert 20 < max(speeds) < 130
    assert charge is not None
    assert car.soc_pct is not None
    per_100_km = (charge - car.soc_pct) / 100 * 64 / driven * 100
    assert 5 < per_100_km < 40
    assert car.motor_temp_c > car.ambient_c + 5


def test_bought_options_change_the_drive():
    plain = drive(600, Features())
    boosted = drive(600, Features.of({"ENGINE_CONTROL.power_mode": "HIGH"}))
    assert boosted.motor_temp_c > plain.motor_temp_c
    assert boosted.odometer_km > plain.odometer_km
    cooled = drive(600, Features.of({"HVAC.climate_zones": 4}))
    assert cooled.power_kw > plain.power_kw
    crawling = drive(600, Features.of({"TRACTION_CONTROL.off_road_mode": True}))
    assert crawling.speed_kmh <= 60.5


def test_a_parked_car_does_not_move_and_a_charging_one_fills():
    car = Car(AURORA.hardware, Random(1))
    before = car.body
    car.advance(3600, Features())
    assert car.body == before
    car.soc_pct = 30.0
    car.park(charge=True)
    assert car.state is Operational.CHARGING
    car.advance(3 * 3600, Features())
    assert (car.soc_pct, car.state) == (pytest.approx(80, abs=0.2), Operational.PARKED)


def test_an_empty_car_stops_and_a_restart_keeps_the_odometer():
    car = Car(AURORA.hardware, Random(1))
    car.soc_pct = 1.5
    car.drive()
    car.advance(1800, Features())
    assert car.state in (Operational.CHARGING, Operational.PARKED)
    again = Car(AURORA.hardware, Random(1), body=car.body)
    assert (again.odometer_km, again.soc_pct) == (car.odometer_km, car.soc_pct)


def test_the_route_is_a_loop():
    assert 30 < MADRID.length_km < 80
    here, there = MADRID.at(0.0), MADRID.at(MADRID.length_km)
    assert (here.lat, here.lon) == (there.lat, there.lon)


def test_a_roaming_driver_drives_and_rests_until_a_hand_takes_over():
    car = Car(AURORA.hardware, Random(1))
    driver = Driver(Random(1), roams=True)
    seen: set[Operational] = set()
    for _ in range(500):
        driver.pass_time(car, 10)
        seen.add(car.state)
    assert seen >= {Operational.PARKED, Operational.RUNNING}
    driver.take_over(car, drive=False)
    for _ in range(500):
        driver.pass_time(car, 10)
        assert car.state is Operational.PARKED


# --- telemetry buffer -----------------------------------------------------------------------


def kept(boot: int, n: int) -> Kept:
    return Kept(boot, n, b'{"n":%d}' % n)


def names(buffer: TelemetryBuffer) -> list[tuple[int, int]]:
    return [(batch.boot, batch.n) for batch in buffer.batches]


def test_stored_covers_its_boot_up_to_n_but_what_is_missing():
    buffer = TelemetryBuffer(100, [kept(1, 7), *(kept(2, n) for n in range(5))])
    for batch in buffer.batches:
        batch.sent_at = 1.0
    assert buffer.receipt(Stored(2, 3, [1]))
    assert names(buffer) == [(1, 7), (2, 1), (2, 4)]
    again = buffer.next_unsent()
    assert again is not None
    assert (again.boot, again.n) == (2, 1)
    assert not buffer.receipt(Stored(3, 9))


def test_a_full_buffer_loses_its_oldest_and_counts():
    buffer = TelemetryBuffer(3, (kept(1, n) for n in range(5)))
    assert (names(buffer), buffer.dropped) == ([(1, 2), (1, 3), (1, 4)], 2)


def test_a_new_connection_and_long_silence_send_again():
    buffer = TelemetryBuffer(10, [kept(1, 0), kept(1, 1)])
    for batch in buffer.batches:
        batch.sent_at = 100.0
    assert buffer.next_unsent() is None
    assert buffer.silence_left(110.0, 60.0) == 50.0
    assert not buffer.nudge(159.0, 60.0)
    assert buffer.nudge(160.0, 60.0)
    oldest = buffer.next_unsent()
    assert oldest is not None
    assert oldest.n == 0
    buffer.new_connection()
    assert all(batch.sent_at is None for batch in buffer.batches)


# --- files ----------------------------------------------------------------------------------


def test_state_and_telemetry_come_back(tmp_path):
    store = VehicleStore(tmp_path, "V")
    assert store.load() == Saved(UnitState())
    saved = Saved(UnitState(boot=3, highest_seq=9, values={"a.b": 4, "c.d": True}))
    store.save(saved)
    for n in range(3):
        store.append(kept(3, n))
    again = VehicleStore(tmp_path, "V")
    assert again.load() == saved
    assert names(again.load_telemetry(10)) == [(3, 0), (3, 1), (3, 2)]


def test_a_line_cut_short_is_dropped_and_does_not_spoil_the_next(tmp_path):
    store = VehicleStore(tmp_path, "V")
    store.append(kept(1, 0))
    journal = tmp_path / "V.telemetry"
    journal.write_bytes(journal.read_bytes() + b'1 1 {"n"')
    store = VehicleStore(tmp_path, "V")
    assert names(store.load_telemetry(10)) == [(1, 0)]
    store.append(kept(1, 2))
    assert names(VehicleStore(tmp_path, "V").load_telemetry(10)) == [(1, 0), (1, 2)]


def test_unreadable_files_start_a_new_vehicle(tmp_path):
    (tmp_path / "V.json").write_bytes(b"{half")
    (tmp_path / "V.telemetry").write_bytes(b"what is this\n")
    store = VehicleStore(tmp_path, "V")
    assert store.load() == Saved(UnitState())
    assert len(store.load_telemetry(10)) == 0


def test_the_journal_forgets_what_is_stored(tmp_path):
    store = VehicleStore(tmp_path, "V")
    buffer = store.load_telemetry(1000)
    for n in range(100):
        store.append(kept(1, n))
        buffer.add(kept(1, n))
    buffer.receipt(Stored(1, 97))
    store.trim(buffer)
    assert (tmp_path / "V.telemetry").read_bytes().count(b"\n") == 2
    assert names(VehicleStore(tmp_path, "V").load_telemetry(1000)) == [(1, 98), (1, 99)]


# --- fleet file and keys --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "array"),
        (b'[{"vin": "V", "secret": "s", "model": "AURORA"}]', "no VIN"),
        (b'[{"vin": "VF1AURRA000000017", "model": "AURORA"}]', "secret"),
        (b'[{"vin": "VF1AURRA000000017", "secret": "s", "model": "X"}]', "no model X"),
    ],
)
def test_a_bad_fleet_file_says_why(text, why):
    with pytest.raises(BadFleetFile, match=why):
        read_fleet(text, seed_catalogue())


async def test_keys_are_awaited_and_asked_for_again():
    new_key = jws.new_signing_key()
    answers = [None, KEYS, KeySet([KEY, new_key])]
    asked: list[object] = []

    async def fetch() -> KeySet:
        answer = answers[len(asked)]
        asked.append(answer)
        if answer is None:
            raise KeysUnavailable("not yet")
        return answer

    ring = KeyRing(fetch, ask_again_s=0.0)
    with pytest.raises(KeysUnavailable):
        await ring.check()
    known = signed(command(1, BOOST))
    assert await ring.for_command(known) is KEYS
    await ring.check()
    rotated = jws.sign(command(2, BOOST), new_key)
    both = await ring.for_command(rotated)
    assert jws.verify(rotated, both).seq == 2
    assert len(asked) == 3


async def test_a_forger_cannot_make_vehicles_ask_all_the_time():
    asked: list[int] = []

    async def fetch() -> KeySet:
        asked.append(1)
        return KEYS

    ring = KeyRing(fetch, ask_again_s=3600.0)
    for seq in range(1, 10):
        await ring.for_command(jws.sign(command(seq, BOOST), jws.new_signing_key()))
    assert len(asked) == 1


def test_who_drives_by_hand_still_drives_when_the_simulator_restarts(tmp_path):
    car, driver = Car(AURORA.hardware, Random(1)), Driver(Random(1), roams=True)
    assert driver.by_hand is None
    driver.take_over(car, drive=True)
    body = msgspec.structs.replace(car.body, driven=driver.by_hand)
    store = VehicleStore(tmp_path, "V")
    store.save(Saved(UnitState(), body))
    loaded = store.load().body
    assert loaded is not None
    assert loaded.driven is True


def test_a_defect_car_stays_one_when_the_simulator_restarts(tmp_path):
    store = VehicleStore(tmp_path, "V")
    assert store.load_faults() == []
    faults = [
        Fault(kind=FaultKind.REFUSE, reason=Reason.BUSY),
        Fault(kind=FaultKind.DELAY, seconds=2),
    ]
    store.save_faults(faults)
    assert VehicleStore(tmp_path, "V").load_faults() == faults
    (tmp_path / "V.faults.json").write_text("[{")
    assert VehicleStore(tmp_path, "V").load_faults() == []
    store.save_faults([])
    assert not (tmp_path / "V.faults.json").exists()
