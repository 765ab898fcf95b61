"""`python -m partner_sims`: the outside world as a process of its own."""

import asyncio

import core.log
import core.settings
from core.errors import DomainError
from core.ops import stop_on_signals
from core.settings import LogSettings
from partner_sims.main import run


async def _main() -> None:
    await run(stop_on_signals())


if __name__ == "__main__":
    try:
        core.log.configure("partner-sims", core.settings.load(LogSettings))
        asyncio.run(_main())
    except DomainError as error:
        raise SystemExit(f"partner-sims: {error}") from None
