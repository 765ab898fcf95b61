"""The registry in the process: enrols what the factory has built, keeps the password file."""

import asyncio

import core.log
from core.contracts.jobs import EnrollVehicle
from gateway.parts import Gateway, Part
from gateway.registry.passwords import keep_password_file
from gateway.registry.service import enroll
from gateway.settings import GatewaySettings

log = core.log.get(__name__)


def part(gateway: Gateway, settings: GatewaySettings) -> Part:
    """The registry's part of the gateway."""

    async def enroll_vehicle(job: EnrollVehicle) -> None:
        # Nobody is there to be shown a secret: `caas vehicles rotate` makes one.
        async with gateway.database.transaction() as conn:
            await enroll(
                conn,
                vin=job.vin,
                model=job.model,
                firmware=job.firmware,
                transport=job.transport,
                credential=False,
            )

    async def keep_passwords(stop: asyncio.Event) -> None:
        await _keep_passwords(gateway, settings, stop)

    return Part(jobs={EnrollVehicle: enroll_vehicle}, loops=(keep_passwords,))


async def _keep_passwords(gateway: Gateway, settings: GatewaySettings, stop: asyncio.Event) -> None:
    if settings.password_file is None:
        log.info("no password file to write: CAAS_GATEWAY_PASSWORD_FILE is not set")
        return
    keeping = asyncio.create_task(
        keep_password_file(
            gateway.database,
            settings.password_file,
            settings.accounts_file,
            settings.password_recheck_s,
        )
    )
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    keeping.cancel()
    await asyncio.wait({keeping})
    if not keeping.cancelled():
        keeping.result()
