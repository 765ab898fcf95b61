"""What the running broker is told of an enrolment, a rotation, a revocation, an import (ADR 5)."""

from core.settings import BusSettings
from gateway.accounts.settings import AccountsSettings
from gateway.accounts.tell import (
    Change,
    Imported,
    Readmitted,
    Revoked,
    Secret,
    follows,
    left_to_the_file,
    tell,
)
from gateway.registry.bulk import ImportReport
from gateway.registry.model import Enrolment


def of_enrolment(made: Enrolment, *, again: bool = False) -> list[Change]:
    """``again``: a revoked vehicle was to be let back in."""
    if made.secret is not None and made.secret_hash is not None:
        return [Secret(made.vin, made.secret, made.secret_hash, fresh=made.created)]
    return [Readmitted(made.vin)] if again and made.certificate is not None else []


def of_revocation(vin: str) -> list[Change]:
    """Also where it was revoked already: it may not have reached the broker."""
    return [Revoked(vin.strip().upper())]


async def tell_of_import(
    report: ImportReport, bus: BusSettings, settings: AccountsSettings
) -> str | None:
    """As :func:`tell`; of up to ``bulk_max`` secrets, the rest is left to the password file."""
    if not follows(bus, settings) or not (report.new or report.later):
        return None
    if len(report.new) + report.later > settings.bulk_max or not report.new:
        return left_to_the_file(len(report.new) + report.later)
    return await tell([Imported(vin, *both) for vin, both in report.new.items()], bus, settings)
