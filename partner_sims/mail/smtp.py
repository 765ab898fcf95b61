"""The SMTP side of the sink: takes every message for anybody and keeps it."""

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager

from aiosmtpd.smtp import SMTP, Envelope, Session

import core.log
from core.errors import Unavailable
from partner_sims.faults.service import Fault
from partner_sims.mail import service
from partner_sims.sims import Sims

log = core.log.get(__name__)

_MODES = ("down", "slow", "error", "malformed", "lost", "decline")
_MAX_BYTES = 25 * 1024 * 1024
_ANSWERS = {
    "down": "421 4.3.2 Service not available",
    "error": "451 4.3.0 Local error in processing",
    "malformed": "999 ?",
    "decline": "550 5.1.1 Mailbox unavailable",
}


class Sink:
    """aiosmtpd's handler."""

    def __init__(self, sims: Sims) -> None:
        self._sims = sims

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Keep the message, then say so: what was answered 250 is in the store."""
        sims = self._sims
        recipients = [str(address) for address in envelope.rcpt_tos]
        raw = bytes(envelope.original_content or b"")
        with sims.store.transaction():
            text = f"SMTP {' '.join(recipients)} {raw.decode('utf-8', 'replace')}"
            fault = sims.faults.take("mail", _MODES, text)
        await sims.pause(fault.delay_s if fault else 0)
        if fault is not None and fault.mode in _ANSWERS:
            return _refuse(fault)
        with sims.store.transaction():
            message_id = service.keep_email(sims, str(envelope.mail_from), recipients, raw)
        log.info("mail kept", message_id=message_id, recipients=len(recipients))
        if fault is not None and fault.mode == "lost":
            return _ANSWERS["error"]
        return f"250 2.0.0 OK {message_id}"


@contextmanager
def listening(sims: Sims) -> Generator[socket.socket]:
    """The bound SMTP socket; Unavailable where the port is taken."""
    host, port = sims.settings.host, sims.settings.smtp_port
    try:
        bound = socket.create_server((host, port))
    except OSError as error:
        raise Unavailable(
            "PORT_TAKEN", f"cannot listen on {host}:{port}: {error.strerror}"
        ) from None
    with bound:
        yield bound


async def serve(sims: Sims, bound: socket.socket) -> None:
    """Serve SMTP until cancelled."""
    loop = asyncio.get_running_loop()
    handler = Sink(sims)

    def session() -> SMTP:
        return SMTP(
            handler,
            data_size_limit=_MAX_BYTES,
            enable_SMTPUTF8=True,
            hostname="mail.partner-sims.test",
            ident="CaaS partner simulators",
            loop=loop,
        )

    server = await loop.create_server(session, sock=bound)
    async with server:
        await server.serve_forever()


def _refuse(fault: Fault) -> str:
    log.info("fault applied", partner="mail", mode=fault.mode)
    return _ANSWERS[fault.mode]
