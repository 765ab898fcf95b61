"""The registry in the process: its calls, the factory's cars, and the files the broker reads."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import core.log
from core.contracts.jobs import EnrollVehicle
from core.settings import AccessTokenSettings, OpsSettings, load
from gateway.accounts.settings import AccountsSettings
from gateway.parts import Gateway, Part
from gateway.registry.app import PREFIX, create_registry_app, refuse_demo_secret
from gateway.registry.crl import keep_crl
from gateway.registry.passwords import keep_password_file
from gateway.registry.routes import RegistryApi
from gateway.registry.service import enroll
from gateway.registry.settings import CaSettings, RegistrySettings
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
                actor="factory",
            )

    ca, tokens = load(CaSettings), load(AccessTokenSettings)
    refuse_demo_secret(tokens, load(OpsSettings))
    api = RegistryApi(gateway, ca, load(RegistrySettings), tokens, load(AccountsSettings))

    async def keep_passwords(stop: asyncio.Event) -> None:
        if settings.password_file is None:
            log.info("no password file to write: CAAS_GATEWAY_PASSWORD_FILE is not set")
            return
        await _until(
            stop,
            keep_password_file(
                gateway.database,
                settings.password_file,
                settings.accounts_file,
                settings.password_recheck_s,
            ),
        )

    async def keep_revocations(stop: asyncio.Event) -> None:
        if ca.dir is None:
            log.info("no certificates of vehicles: CAAS_CA_DIR is not set")
            return
        await _until(stop, keep_crl(gateway.database, ca, gateway.clock))

    return Part(
        jobs={EnrollVehicle: enroll_vehicle},
        mounts={PREFIX: create_registry_app(api)},
        loops=(keep_passwords, keep_revocations),
    )


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    keeping = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    keeping.cancel()
    await asyncio.wait({keeping})
    if not keeping.cancelled():
        keeping.result()
