"""The ways out of the house: SMTP for e-mail, HTTP for push and SMS."""

from email.message import EmailMessage

import aiosmtplib
import httpx

from api.notifications.templates import Text
from api.settings import Settings
from core.errors import Invalid, Unavailable

_FOR_GOOD = 500  # of SMTP: 4xx is for now, 5xx for ever
_LATER = frozenset({401, 403, 408, 429})  # our credentials or the moment, not the message


async def send_email(settings: Settings, recipient: str, text: Text, message_id: str) -> None:
    """Hand one e-mail to the mail server; Unavailable where it does not take it now.

    Invalid where it never will: address or content are refused for good.
    """
    partner, notify = settings.partner, settings.notify
    message = EmailMessage()
    message["From"] = partner.mail_from
    message["To"] = recipient
    message["Subject"] = text.subject
    # The same row gives the same id, so a mail sent twice can be told by its reader.
    message["Message-ID"] = f"<{message_id}@caas.example>"
    message.set_content(text.body)
    secret = notify.smtp_password
    try:
        await aiosmtplib.send(
            message,
            hostname=partner.smtp_host,
            port=partner.smtp_port,
            username=notify.smtp_username,
            password=secret.get_secret_value() if secret else None,
            start_tls=notify.smtp_starttls,
            timeout=notify.smtp_timeout_s,
        )
    except (aiosmtplib.SMTPException, OSError) as error:
        if _is_for_good(error):
            raise Invalid("MAIL_REFUSED", "the mail server refuses address or content") from None
        raise Unavailable(
            "MAIL_UNAVAILABLE", f"the mail server does not take it: {error}"
        ) from None


def _is_for_good(error: Exception) -> bool:
    """Whether sending the same again is in vain."""
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(refused.code >= _FOR_GOOD for refused in error.recipients)
    return isinstance(error, aiosmtplib.SMTPDataError) and error.code >= _FOR_GOOD


async def send_note(
    url: str, recipient: str, text: Text, message_id: str, timeout_s: float
) -> None:
    """Hand one push notification or SMS to its provider; Unavailable where it does not take it now.

    Invalid where it never will: the request is refused, not the moment.
    """
    note = {"to": recipient, "title": text.short, "text": text.body, "id": message_id}
    try:
        async with httpx.AsyncClient(timeout=timeout_s) as client:
            answer = await client.post(url, json=note, headers={"Idempotency-Key": message_id})
    except httpx.HTTPError as error:
        raise Unavailable("SINK_UNAVAILABLE", f"{url}: {type(error).__name__}") from None
    if answer.is_client_error and answer.status_code not in _LATER:
        raise Invalid("NOTE_REFUSED", f"{url} answered {answer.status_code}")
    if not answer.is_success:
        raise Unavailable("SINK_UNAVAILABLE", f"{url} answered {answer.status_code}")
