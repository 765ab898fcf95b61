"""Signs commands and puts them on the bus, with the properties of BUS.md."""

from structlog.contextvars import bound_contextvars

import core.log
from core.bus import Bus, BusUnavailable, Properties, PublishFailed
from core.clock import Clock
from core.contracts.bus import Command
from core.contracts.jws import CONTENT_TYPE, sign
from core.contracts.topics import Topic, topic_of
from core.db import Database
from core.errors import Unavailable
from core.keys import KeyFile
from ota_engine.metrics import PUBLISHES
from ota_engine.repository import Repository

log = core.log.get(__name__)


class Publisher:
    """Publishes committed commands; what fails here stays QUEUED, and the scan publishes it."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        keys: KeyFile,
        prefix: str,
        timeout_s: float,
        clock: Clock,
    ) -> None:
        self._bus = bus
        self._database = database
        self._keys = keys
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._clock = clock

    async def publish(self, command: Command) -> None:
        """Publish, then note it; never raises for a broker or database that is away.

        Without a connection it does not wait for one: timers and other vehicles would wait too.
        """
        with bound_contextvars(vin=command.vin, command_id=str(command.command_id)):
            try:
                if not await self._send(command):
                    return
                async with self._database.transaction() as conn:
                    await Repository(conn).mark_published(command.command_id, self._clock.now())
            except PublishFailed as error:
                PUBLISHES.labels("refused").inc()
                log.error("command refused by the broker", reason=error.reason)
            except Unavailable as error:
                PUBLISHES.labels("unavailable").inc()
                log.warning("command not published yet", error=str(error))

    async def _send(self, command: Command) -> bool:
        if not self._bus.connected:
            raise BusUnavailable("no connection to the broker")
        left_s = int((command.expires_at - self._clock.now()).total_seconds())
        if left_s < 1:
            return False  # the vehicle would refuse it, and its timer handles the rest
        await self._bus.publish(
            topic_of(self._prefix, command.vin, Topic.CMD),
            sign(command, self._keys.load().signer(self._clock.now())),
            properties=Properties(
                content_type=CONTENT_TYPE,
                response_topic=topic_of(self._prefix, command.vin, Topic.ANSWER),
                correlation=command.command_id.bytes,
                expiry_s=left_s,
            ),
            timeout_s=self._timeout_s,
        )
        PUBLISHES.labels("ok").inc()
        log.info("command published", kind=command.kind.value, seq=command.seq)
        return True
