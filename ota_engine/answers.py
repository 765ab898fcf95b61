"""A vehicle's answers: noted on the command, and taken by the delivery it belongs to."""

from dataclasses import replace

import msgspec
from structlog.contextvars import bound_contextvars

import core.log
from core.contracts.bus import Answer, CommandKind, Reason, Result
from core.contracts.commands import CommandEvent
from ota_engine import commands
from ota_engine.delivery import Answered, decide
from ota_engine.model import CommandRow
from ota_engine.steps import carry_out
from ota_engine.unit import Unit

log = core.log.get(__name__)

# Answers a car gives to what it could not read, so without the ids (BUS, Answer).
_UNREADABLE = frozenset({Reason.BAD_SIGNATURE, Reason.MALFORMED})
# A command's last word is not taken back by an earlier answer that comes late.
_FINAL = frozenset({Result.APPLIED.value, Result.REJECTED.value, Result.REPORT.value})


async def take(unit: Unit, vin: str, answer: Answer) -> str:
    """What the answer did, for the metric."""
    command = await _command_of(unit, vin, answer)
    if command is None:
        return "not_ours"  # the IoT API's, or none at all
    with bound_contextvars(command_id=str(command.command_id)):
        return await _take(unit, command, answer)


async def _command_of(unit: Unit, vin: str, answer: Answer) -> CommandRow | None:
    if answer.command_id is not None:
        return await unit.repo.command(answer.command_id, vin)
    if answer.seq is not None:
        return await unit.repo.command_by_seq(vin, answer.seq)
    if answer.reason in _UNREADABLE:
        return await unit.repo.command_in_flight(vin)
    return None


async def _take(unit: Unit, command: CommandRow, answer: Answer) -> str:
    if command.result in _FINAL and answer.result is Result.ACCEPTED:
        return "late"
    if answer.reason is Reason.REPLAYED and await unit.repo.overtaken(command):
        # No stranger's doing: it was late, and all it needs is a new number.
        log.warning("overtaken by a later command", kind=command.kind, seq=command.seq)
        answer = msgspec.structs.replace(answer, reason=Reason.EXPIRED)
        await _show_again(unit, command)
    reason = None if answer.reason is None else answer.reason.value
    duplicate = command.result == answer.result.value and command.reason == reason
    if not duplicate:
        await unit.repo.answer_command(
            command.command_id, answer.result.value, reason, answer_at=answer.at, at=unit.now
        )
        log.info("answer", kind=command.kind, result=answer.result.value, reason=reason)
    if command.kind != CommandKind.CONFIGURE:
        await _close_other(unit, command, answer)
    else:
        await _tell_delivery(unit, command, answer, reason)
    return "duplicate" if duplicate else "handled"


async def _show_again(unit: Unit, command: CommandRow) -> None:
    text = await unit.repo.text_to_show(command.command_id, unit.now)
    if text is not None and text.text and text.level:
        await commands.display(unit, text.vin, text.text, text.level)


async def _close_other(unit: Unit, command: CommandRow, answer: Answer) -> None:
    """A query or a text is done with its answer."""
    if answer.result is Result.REJECTED:
        event = CommandEvent.FAILED
    elif answer.result in (Result.APPLIED, Result.REPORT):
        event = CommandEvent.PROVEN
    else:
        return
    reason = None if answer.reason is None else answer.reason.value
    await unit.repo.close_command(command.command_id, event, unit.now, reason)


async def _tell_delivery(
    unit: Unit, command: CommandRow, answer: Answer, reason: str | None
) -> None:
    if command.delivery_id is None:
        return
    delivery = await unit.repo.delivery(command.delivery_id)
    if delivery is None or delivery.command_id != command.command_id or delivery.due_at is None:
        return  # an earlier command's: only a report can still change something
    if delivery.attempt_open:
        code = reason or answer.result.value
        await unit.repo.attempt_response(delivery, code, answer.detail)
    if answer.result is Result.APPLIED and not delivery.applied:
        delivery = replace(delivery, applied=True)
        await unit.repo.save_delivery(delivery, delivery.state, unit.now)
    vehicle = await unit.repo.vehicle(delivery.vin)
    event = Answered(answer.result, answer.reason, answer.at, vehicle)
    decision = decide(delivery, event, unit.now, unit.policy)
    await carry_out(unit, delivery, decision, vehicle=vehicle)
