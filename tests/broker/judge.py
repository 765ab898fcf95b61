"""Reads the broker's log as `caas run broker-log` does, and waits for what must be in it."""

import time
from pathlib import Path

from caas.brokers.acl import parse_acl
from caas.brokers.broker_log import Denial, Kind, LogReader
from caas.brokers.mosquitto import acl_text
from tests.broker_fixtures import PREFIX, wait_until


class Judge:
    """What was refused since it was made."""

    def __init__(self, log: Path) -> None:
        self._reader = LogReader(parse_acl(acl_text(PREFIX)))
        self._log, self._read_so_far = log, 0
        self.denials: list[Denial] = []
        # What was before matters for who is who.
        self._read()
        self.denials.clear()

    def expect(
        self,
        kind: Kind,
        what: str = "",
        *,
        client: str | None = None,
        address: str | None = None,
        count: int = 1,
    ) -> Denial:
        """Wait for ``count`` such refusals; the last of them. ``what``: a part of it.

        ``address``: its port counts where the log can tell which connection it was.
        """
        found: list[Denial] = []

        def there() -> bool:
            self._read()
            found[:] = [
                denial
                for denial in self.denials
                if denial.kind == kind
                and what in denial.what
                and client in (None, denial.client)
                and (address is None or _fits(denial.address, address))
            ]
            return len(found) >= count

        wait_until(there, f"{kind} {what} of {client or address} in {self.denials}")
        return found[-1]

    def _read(self) -> None:
        with self._log.open("rb") as file:
            file.seek(self._read_so_far)
            data = file.read()
        self._read_so_far += len(data)
        entries = self._reader.feed(data, time.monotonic())
        self.denials += [entry for entry in entries if isinstance(entry, Denial)]


def _fits(found: str | None, wanted: str) -> bool:
    return found is not None and (found == wanted or found == wanted.rpartition(":")[0])
