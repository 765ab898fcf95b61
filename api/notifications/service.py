"""Telling someone something once: rows first, then out by each channel, then marked (DOMAIN 15).

A message is never sent twice knowingly; a crash between sending and marking can repeat it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import core.log
from api.customers import service as customers
from api.customers.service import Customer
from api.deps import ApiDeps
from api.identity import service as identity
from api.notifications import repository, senders
from api.notifications.events import DEFAULT, EVENTS, Channel, Rule
from api.notifications.repository import Unsent
from api.notifications.templates import Text, render
from core.contracts.jobs import Notify, ShowOnDisplay
from core.db import Connection
from core.errors import Conflict, DomainError
from core.ids import new_id
from core.jobs import defer

log = core.log.get(__name__)

CUSTOMER = "customer"
_STAFF_LANGUAGE = "en"
_SHORT_DAYS = 14


@dataclass(frozen=True, slots=True)
class _Message:
    """One event for its readers: texts by audience."""

    job: Notify
    rule: Rule
    reader: Customer | None
    data: Mapping[str, Any]

    def text(self, audience: str, extra: Mapping[str, Any] | None = None) -> Text:
        to_customer = audience == CUSTOMER and self.reader is not None
        language = self.reader.language if to_customer and self.reader else _STAFF_LANGUAGE
        name = self.reader.name if to_customer and self.reader else audience.lower()
        return render(self.job.event, language, {**self.data, "name": name, **(extra or {})})


async def notify(deps: ApiDeps, job: Notify) -> None:
    """Save the messages of an event, send what is not sent; raises if any could not be sent."""
    async with deps.database.transaction() as conn:
        message = await _compose(conn, job)
        await _save(conn, deps, message)
        waiting = await repository.unsent(conn, job.dedupe_key)
    failure: DomainError | None = None
    for unsent in waiting:
        try:
            await _send(deps, message, unsent)
        except DomainError as error:
            # The others go out all the same; the job comes again for this one.
            failure = error
    if failure is not None:
        raise failure


async def _compose(conn: Connection, job: Notify) -> _Message:
    rule = EVENTS.get(job.event)
    if rule is None:
        log.error("event without a row in the notification table", notification=job.event)
        rule = DEFAULT
    reader = await customers.get(conn, job.customer_id) if job.customer_id else None
    data: dict[str, Any] = {"vin": job.vin, **job.data}
    if job.activation_id is not None:
        facts = await repository.activation_facts(conn, job.activation_id)
        data = {**facts, **{key: value for key, value in data.items() if value is not None}}
        days = facts.get("duration_days")
        data["short"] = days is not None and days <= _SHORT_DAYS
    code = data.get("service_code")
    if code:
        data["service"] = await repository.service_name(conn, str(code)) or code
    return _Message(job, rule, reader, data)


async def _save(conn: Connection, deps: ApiDeps, message: _Message) -> None:
    job = message.job
    if message.reader is not None:
        for channel in message.rule.channels:
            recipient = _recipient(message.reader, channel, job.vin)
            await _save_one(conn, deps, message, channel, CUSTOMER, recipient)
    for role in (job.staff_role,) if job.staff_role else message.rule.staff:
        await _save_one(conn, deps, message, Channel.EMAIL, role, _staff_address(deps, role))


async def _save_one(
    conn: Connection,
    deps: ApiDeps,
    message: _Message,
    channel: Channel,
    audience: str,
    recipient: str | None,
) -> None:
    now, job = deps.clock.now(), message.job
    done = channel in (Channel.DISPLAY, Channel.IN_APP)
    reachable = recipient is not None and _has_channel(deps, channel)
    text = message.text(audience)
    new = await repository.insert(
        conn,
        {
            "message_id": new_id(),
            "dedupe_key": job.dedupe_key,
            "channel": channel.value,
            "audience": audience,
            "event": job.event,
            "customer_id": job.customer_id,
            "vin": job.vin,
            "activation_id": job.activation_id,
            "recipient": recipient or "",
            "subject": text.subject,
            "body": "" if message.rule.secret else text.body,
            "state": "NO_CHANNEL" if not reachable else "SENT" if done else "PENDING",
            "at": now,
            "sent_at": now if done and reachable else None,
        },
    )
    if new and reachable and channel is Channel.DISPLAY and job.vin is not None:
        await defer(conn, ShowOnDisplay(vin=job.vin, text=text.short, level=message.rule.level))


async def _send(deps: ApiDeps, message: _Message, unsent: Unsent) -> None:
    extra: Mapping[str, Any] = {}
    if message.rule.secret:
        extra = await _credentials(deps, message.job)
        if not extra:
            return await _mark(deps, unsent.message_id)
    text = message.text(unsent.audience, extra)
    key, notify = str(unsent.message_id), deps.settings.notify
    match unsent.kind:
        case Channel.EMAIL:
            await senders.send_email(deps.settings, unsent.recipient, text, key)
        case Channel.PUSH | Channel.SMS as channel:
            url = notify.push_url if channel is Channel.PUSH else notify.sms_url
            if url is not None:
                await senders.send_note(url, unsent.recipient, text, key, notify.sink_timeout_s)
        case _:
            raise AssertionError("display and in-app messages need no sending")
    await _mark(deps, unsent.message_id)
    log.info("notified", notification=message.job.event, channel=unsent.channel)
    return None


async def _credentials(deps: ApiDeps, job: Notify) -> Mapping[str, Any]:
    """Fresh credentials for this very mail: they are nowhere else. Empty once activated."""
    user_id = UUID(str(job.data["user_id"]))
    try:
        async with deps.database.transaction() as conn:
            issued = await identity.issue_credentials(
                conn, deps.settings.api, user_id, deps.clock.now()
            )
    except Conflict:
        return {}
    return {
        "username": issued.username,
        "password": issued.password,
        "activation_url": issued.activation_url,
    }


async def _mark(deps: ApiDeps, message_id: UUID) -> None:
    async with deps.database.transaction() as conn:
        await repository.mark_sent(conn, message_id, deps.clock.now())


def _recipient(reader: Customer, channel: Channel, vin: str | None) -> str | None:
    match channel:
        case Channel.EMAIL:
            return reader.email
        case Channel.SMS:
            return reader.phone
        case Channel.DISPLAY:
            return vin
        case Channel.PUSH | Channel.IN_APP:
            return str(reader.customer_id)


def _has_channel(deps: ApiDeps, channel: Channel) -> bool:
    notify = deps.settings.notify
    match channel:
        case Channel.PUSH:
            return notify.push_url is not None
        case Channel.SMS:
            return notify.sms_url is not None
        case _:
            return True


def _staff_address(deps: ApiDeps, role: str) -> str:
    notify = deps.settings.notify
    return {
        "SUPPORT": notify.support_email,
        "SALES": notify.sales_email,
        "OPERATIONS": notify.operations_email,
    }.get(role, notify.operations_email)
