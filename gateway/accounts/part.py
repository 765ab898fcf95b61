"""The accounts' part of the gateway: the running broker follows the registry."""

import asyncio

import core.log
from gateway.accounts.keeper import Keeper
from gateway.accounts.settings import AccountsSettings
from gateway.parts import Gateway, Part

log = core.log.get(__name__)


def part(gateway: Gateway, settings: AccountsSettings) -> Part:
    """A loop that ends what may not sign in any more, at the broker and in its presence."""

    async def keep(stop: asyncio.Event) -> None:
        if not gateway.bus_settings.username:
            log.info("the broker's accounts are not looked after: CAAS_MQTT_USERNAME is not set")
            return
        keeping = asyncio.create_task(Keeper(gateway, settings).run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({keeping, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        keeping.cancel()
        await asyncio.wait({keeping})
        if not keeping.cancelled():
            keeping.result()

    return Part(loops=(keep,))
