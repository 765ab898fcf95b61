"""The inbox: every e-mail, push and SMS that was sent, as it was sent."""

import json
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from typing import Any

from core.clock import rfc3339
from core.ids import new_id
from partner_sims.errors import PartnerError
from partner_sims.sims import Sims


@dataclass(frozen=True, slots=True)
class Message:
    """A row of messages without its raw bytes."""

    message_id: str
    channel: str
    sender: str
    recipients: str
    subject: str
    date: str
    text: str
    html: str
    attachments: str


@dataclass(frozen=True, slots=True)
class _Raw:
    raw: bytes


def keep_email(sims: Sims, sender: str, recipients: list[str], raw: bytes) -> str:
    """Store an e-mail as it came over SMTP; its id."""
    mail = parse(raw)
    return _insert(
        sims,
        channel="email",
        sender=sender,
        recipients=recipients,
        subject=str(mail["subject"] or ""),
        date=_date_of(mail, sims.stamp()),
        text=_part(mail, "plain"),
        html=_part(mail, "html"),
        attachments=[
            {
                "name": part.get_filename() or "attachment",
                "content_type": part.get_content_type(),
                "bytes": len(_payload(part)),
            }
            for part in mail.iter_attachments()
        ],
        raw=raw,
    )


def keep_note(sims: Sims, channel: str, to: str, title: str, text: str, raw: bytes) -> str:
    """Store a push notification or SMS; its id."""
    return _insert(
        sims,
        channel=channel,
        sender="",
        recipients=[to],
        subject=title,
        date=sims.stamp(),
        text=text,
        html="",
        attachments=[],
        raw=raw,
    )


def search(
    sims: Sims, to: str | None, subject: str | None, channel: str | None, limit: int
) -> list[Message]:
    """The messages whose recipient and subject contain these texts, newest first."""
    return sims.store.all(
        Message, "message_list", recipient=to, subject=subject, channel=channel, limit=limit
    )


def find(sims: Sims, message_id: str) -> Message:
    """The message, else PartnerError 404."""
    found = sims.store.one(Message, "message_get", message_id=message_id)
    if found is None:
        raise PartnerError(404, "MESSAGE_NOT_FOUND", "no such message")
    return found


def raw_of(sims: Sims, message_id: str) -> bytes:
    """The message as it was sent, else PartnerError 404."""
    found = sims.store.one(_Raw, "message_raw", message_id=message_id)
    if found is None:
        raise PartnerError(404, "MESSAGE_NOT_FOUND", "no such message")
    return found.raw


def attachment(sims: Sims, message_id: str, position: int) -> tuple[str, bytes]:
    """Content type and bytes of the attachment at ``position`` (from 0), else PartnerError 404."""
    parts = list(parse(raw_of(sims, message_id)).iter_attachments())
    if not 0 <= position < len(parts):
        raise PartnerError(404, "ATTACHMENT_NOT_FOUND", "no such attachment")
    return parts[position].get_content_type(), _payload(parts[position])


def view(message: Message) -> dict[str, Any]:
    """A message as the JSON answers show it."""
    return {
        "id": message.message_id,
        "channel": message.channel,
        "from": message.sender,
        "to": json.loads(message.recipients),
        "subject": message.subject,
        "date": message.date,
        "text": message.text,
        "html": message.html,
        "attachments": json.loads(message.attachments),
    }


def parse(raw: bytes) -> EmailMessage:
    """Bytes of RFC 5322 to a message; garbage gives a message with defects, never an error."""
    return message_from_bytes(raw, EmailMessage, policy=policy.default)


def _insert(
    sims: Sims,
    *,
    channel: str,
    sender: str,
    recipients: list[str],
    subject: str,
    date: str,
    text: str,
    html: str,
    attachments: list[dict[str, Any]],
    raw: bytes,
) -> str:
    message_id = str(new_id())
    sims.store.run(
        "message_insert",
        message_id=message_id,
        channel=channel,
        sender=sender,
        recipients=json.dumps(recipients, ensure_ascii=False),
        subject=subject,
        date=date,
        text=text,
        html=html,
        attachments=json.dumps(attachments, ensure_ascii=False),
        raw=raw,
    )
    return message_id


def _part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    if body is None:
        return ""
    try:
        return str(body.get_content())
    except (LookupError, UnicodeError):  # an unknown or lying charset
        return _payload(body).decode("utf-8", "replace")


def _payload(part: Any) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _date_of(mail: EmailMessage, otherwise: str) -> str:
    try:
        return rfc3339(parsedate_to_datetime(str(mail["date"])))
    except (TypeError, ValueError):
        return otherwise
