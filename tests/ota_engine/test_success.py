"""From the request to the proof: DOMAIN 6 rows up to ACTIVE, and S6."""

from datetime import timedelta

from core.bus import Message
from core.contracts.bus import CommandKind, Reason, Result
from core.contracts.jobs import ShowOnDisplay
from core.contracts.states import Origin
from tests.ota_engine.world import OFFROAD_ON, POWER_OFF, POWER_ON, PREFIX, VIN, World


async def test_a_purchase_becomes_active_only_by_the_reported_values(world: World) -> None:
    """DOMAIN 6: ATTEMPTING, reported config matches, ACTIVE; S6."""
    job = await world.buy()
    command = world.last
    assert (command.kind, command.values, command.safe_state) == ("CONFIGURE", POWER_ON, "PARKED")
    assert command.revert_values == POWER_OFF
    assert command.valid_until == world.clock.now() + timedelta(days=7)
    await world.answer(command, Result.ACCEPTED)
    await world.answer(command, Result.APPLIED)
    assert await world.state(job) == "ATTEMPTING"
    assert await world.deferred("api.capture_payment") == []
    world.clock.advance(2)
    await world.report(POWER_ON, command.seq)
    assert await world.history(job) == [
        "PURCHASE_INITIATED",
        "PAYMENT_PENDING",
        "QUEUED",
        "ATTEMPTING",
        "ACTIVE",
    ]
    row = await world.activation(job.activation_id)
    assert row["activated_at"] == world.clock.now()
    assert row["expires_at"] == command.valid_until
    assert (row["charged"], row["final_result"], row["total_attempts"]) == (True, "ACTIVE", 1)
    captures = await world.deferred("api.capture_payment")
    assert [c["payment_id"] for c in captures] == [str(job.payment_id)]
    assert await world.notices() == ["activation_started", "activation_success"]
    assert await world.attempts(job) == [(1, "SUCCESS", "APPLIED")]
    rows = await world.sql(
        "SELECT state FROM ota.command WHERE command_id = %s", command.command_id
    )
    assert rows == [{"state": "COMPLETED"}]


async def test_the_command_carries_the_properties_of_the_bus_contract(world: World) -> None:
    """BUS, Command: expiry, correlation data, response topic, content type."""
    await world.buy()
    topic, _payload, properties = world.bus.published[0]
    assert topic == f"{PREFIX}/{VIN}/cmd"
    assert properties.correlation == world.last.command_id.bytes
    assert properties.response_topic == f"{PREFIX}/{VIN}/answer"
    assert properties.expiry_s == 300
    assert properties.content_type == "application/jose"


async def test_duplicates_of_request_answer_and_report_change_nothing(world: World) -> None:
    """DOMAIN 6: capture once, duplicates ignored."""
    job = await world.buy()
    await world.do(job)
    command = world.last
    for _ in range(3):
        await world.answer(command, Result.APPLIED)
        await world.report(POWER_ON, command.seq)
    assert len(world.commands()) == 1
    assert len(await world.deferred("api.capture_payment")) == 1
    assert (await world.notices()).count("activation_success") == 1


async def test_a_plan_option_is_delivered_without_money(world: World) -> None:
    """DOMAIN 6: plan options enter at QUEUED without payment."""
    job = await world.buy(origin=Origin.PLAN, days=None)
    assert world.last.valid_until is None
    await world.report(POWER_ON, world.last.seq)
    assert await world.history(job) == ["QUEUED", "ATTEMPTING", "ACTIVE"]
    row = await world.activation(job.activation_id)
    assert (row["charged"], row["expires_at"]) == (False, None)
    assert await world.deferred("api.capture_payment") == []


async def test_a_future_start_waits_for_its_time(world: World) -> None:
    """DOMAIN 6: SCHEDULED, time due, QUEUED."""
    job = await world.buy(starts_at=world.clock.now() + timedelta(hours=1))
    assert await world.state(job) == "SCHEDULED"
    assert world.commands() == []
    await world.later(3600)
    assert (await world.history(job))[-3:] == ["SCHEDULED", "QUEUED", "ATTEMPTING"]


async def test_one_at_a_time_per_vehicle_in_order(world: World) -> None:
    """DOMAIN 6: QUEUED, worker free, one per VIN at a time."""
    first = await world.buy()
    second = await world.buy("OFF_ROAD")
    assert [c.service for c in world.commands()] == ["PERF_BOOST_50"]
    assert await world.state(second) == "QUEUED"
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(first) == "ACTIVE"
    assert [c.service for c in world.commands()] == ["PERF_BOOST_50", "OFF_ROAD"]
    await world.report([*POWER_ON, *OFFROAD_ON], world.last.seq)
    assert await world.state(second) == "ACTIVE"


async def test_a_report_from_before_the_delivery_proves_nothing(world: World) -> None:
    """docs/architecture.md, what proves a service."""
    job = await world.buy()
    for retain in (True, False):
        await world.report(POWER_ON, world.last.seq - 1, retain=retain)
    assert await world.state(job) == "ATTEMPTING"


async def test_unusable_messages_end_nothing(world: World) -> None:
    """BUS, last section."""
    job = await world.buy()
    presence = b'{"state":"ONLINE","at":"%s-11-24T08:00:00Z","session":"s","boot":1}'
    for vin, topic, payload in (
        (VIN, "config", b"{"),
        (VIN, "config", b'{"at": 1}'),
        (VIN, "nonsense", b"{}"),
        ("VF1AURRA000000099", "presence", presence % b"2026"),
        (VIN, "presence", presence % b"2029"),
    ):
        await world.inbox.take(Message(f"{PREFIX}/{vin}/{topic}", payload))
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"


async def test_a_text_is_shown_on_the_display(world: World) -> None:
    await world.do(ShowOnDisplay(vin=VIN, text="hello"))
    [command] = world.commands(CommandKind.DISPLAY)
    assert command.text == "hello"
    await world.answer(command, Result.APPLIED)
    rows = await world.sql("SELECT state FROM ota.command")
    assert rows == [{"state": "COMPLETED"}]


async def test_a_text_the_broker_lost_is_sent_again_until_it_is_answered(world: World) -> None:
    await world.do(ShowOnDisplay(vin=VIN, text="Link to the app? code 482913"))
    for waited_s in (2, 4, 8):
        await world.later(waited_s)
    sent = world.commands(CommandKind.DISPLAY)
    assert len(sent) >= 3
    assert len({command.command_id for command in sent}) == 1
    await world.answer(sent[0], Result.APPLIED)
    await world.later(30)
    assert len(world.commands(CommandKind.DISPLAY)) == len(sent)


async def test_a_command_that_a_later_one_overtook_gets_a_new_number(world: World) -> None:
    """A crash of the broker can turn their order round: no attack, and nobody loses a service."""
    job = await world.buy()
    late = world.last
    await world.do(ShowOnDisplay(vin=VIN, text="hello"))
    await world.answer(late, Result.REJECTED, Reason.REPLAYED)
    assert await world.tickets() == []
    # It asks the car first, which does not answer, then waits its turn to try again.
    for _ in range(3):
        await world.later(31)
    assert world.last.seq > late.seq
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"


async def test_nor_does_one_that_the_iot_api_overtook_look_like_an_attack(world: World) -> None:
    job = await world.buy()
    late = world.last
    await world.sql(
        "SELECT gateway.admit_command_v1(gen_random_uuid(), %s, 'QUERY', 'iot_api', NULL, '{}',"
        " %s, 10)",
        VIN,
        world.clock.now(),
    )
    await world.answer(late, Result.REJECTED, Reason.REPLAYED)
    assert await world.tickets() == []
    for _ in range(3):
        await world.later(31)
    await world.report(POWER_ON, world.last.seq)
    assert await world.state(job) == "ACTIVE"


async def test_a_text_that_a_later_command_overtook_is_shown_all_the_same(world: World) -> None:
    await world.do(ShowOnDisplay(vin=VIN, text="hello"))
    [late] = world.commands(CommandKind.DISPLAY)
    await world.buy()
    await world.answer(late, Result.REJECTED, Reason.REPLAYED)
    again = world.commands(CommandKind.DISPLAY)[-1]
    assert again.text == "hello"
    assert again.seq > late.seq
    assert again.command_id != late.command_id
