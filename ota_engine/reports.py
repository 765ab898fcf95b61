"""A vehicle's reported configuration: the only proof there is (S6)."""

from dataclasses import replace

from core.contracts.bus import ReportedConfig
from core.contracts.values import matching
from ota_engine import endings
from ota_engine.delivery import Reported, decide
from ota_engine.model import Delivery, Direction, parse_settings
from ota_engine.proof import Report, Verdict, judge, without
from ota_engine.steps import carry_out
from ota_engine.unit import Unit


async def take(unit: Unit, vin: str, config: ReportedConfig, *, live: bool) -> str:
    """Show the report to every open delivery of the car, then to what was given up."""
    report = Report(config.values, config.seq, live)
    outcome = "noted"
    for delivery in await unit.repo.open_deliveries(vin):
        answers_query = await _answers_query(unit, delivery, config)
        verdict = await _judge(unit, delivery, config, report, queried=answers_query)
        if verdict is Verdict.PROVEN:
            outcome = "proven"
        delivery = await _remember(unit, delivery, report)  # noqa: PLW2901 - the same, as stored
        event = Reported(verdict, answers_query)
        decision = decide(delivery, event, unit.now, unit.policy)
        await carry_out(unit, delivery, decision, report_seq=config.seq)
    await endings.undo_late_success(unit, vin, config.values, config.seq)
    return outcome


async def _judge(
    unit: Unit, delivery: Delivery, config: ReportedConfig, report: Report, *, queried: bool
) -> Verdict:
    target = delivery.target
    if delivery.direction == Direction.OFF:
        others = await unit.repo.needed_by_others(delivery.of_activation, delivery.vin)
        target = without(target, others)
        if not target:
            return Verdict.STALE  # nothing is left to switch off: its next turn ends it
        if delivery.first_seq is None:
            # The car ends an expired service alone, at the moment it was given (DOMAIN 4).
            activation = await unit.repo.activation(delivery.of_activation)
            ended = activation.expires_at if activation.state == "EXPIRED" else None
            queried = queried or (ended is not None and config.at >= ended)
    return judge(target, report, from_seq=delivery.proof_seq, queried=queried)


async def _remember(unit: Unit, delivery: Delivery, report: Report) -> Delivery:
    """Keep whether our commands left anything on, in case the delivery fails (S1)."""
    if not delivery.is_on or delivery.first_seq is None or report.seq < delivery.first_seq:
        return delivery
    others = await unit.repo.needed_by_others(delivery.of_activation, delivery.vin)
    wanted = without(parse_settings(delivery.wanted), others)
    neutral = matching(wanted, parse_settings(delivery.revert))
    shown = any(item not in neutral for item in matching(wanted, report.values))
    if shown == delivery.shown:
        return delivery
    changed = replace(delivery, shown=shown)
    await unit.repo.save_delivery(changed, delivery.state, unit.now)
    return changed


async def _answers_query(unit: Unit, delivery: Delivery, config: ReportedConfig) -> bool:
    """Whether the car made this report after it answered this attempt's QUERY, by its own clock.

    That it came in after the QUERY went out says too little: the broker keeps what a car said for
    an engine that was away, and a slow replica can be behind another.
    """
    if delivery.query_id is None:
        return False
    command = await unit.repo.command(delivery.query_id, delivery.vin)
    if command is None or command.result != "REPORT" or command.answer_at is None:
        return False
    return config.at >= command.answer_at
