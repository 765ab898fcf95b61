"""Tells the gateway what a vehicle's configuration is to be (docs/adr/0006)."""

from collections.abc import Sequence

import core.log
from core.contracts.bus import ParameterSetting
from core.contracts.wanted import InUse, wanted_of
from ota_engine.metrics import WANTED_REFUSED
from ota_engine.model import parse_settings
from ota_engine.unit import Unit

log = core.log.get(__name__)


async def want(unit: Unit, vin: str, off: Sequence[ParameterSetting], cause: str) -> None:
    """State anew what the parameters of ``off`` are to be; within the unit's transaction.

    ``off`` holds their off values, which count where no service in use needs the parameter.
    """
    in_use = [
        InUse(parse_settings(row.wanted), parse_settings(row.revert), row.expires_at)
        for row in await unit.repo.services_in_use(vin)
    ]
    told = await unit.repo.want(vin, wanted_of(off, in_use), cause, unit.now)
    if told.refused:
        # The catalogue changed since the delivery was made: nothing watches these any more.
        log.warning("not in the wanted configuration", vin=vin, parameters=told.refused)
        unit.after_commit(WANTED_REFUSED.inc)
