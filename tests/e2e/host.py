"""The whole platform as a program: ``python -m tests.e2e.host FOLDER VEHICLES BROKER SETTINGS``.

A process of its own, because the supervisor takes the stop signals that pytest wants for itself.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

import core.log
from caas.demo.layout import BRISK, Pace
from caas.demo.platform import Prefer, platform
from core.settings import LogSettings, load


async def main() -> None:
    folder, vehicles, prefer = Path(sys.argv[1]), int(sys.argv[2]), cast("Prefer", sys.argv[3])
    pace = Pace({**BRISK.settings, **json.loads(sys.argv[4])})
    async with platform(folder, vehicles=vehicles, pace=pace, prefer=prefer) as running:
        layout = running.layout
        print(json.dumps({"dsn": layout.dsn, "protocol": layout.protocol}), flush=True)
        await running.supervisor.wait()


if __name__ == "__main__":
    core.log.configure("host", load(LogSettings, level="WARNING"))
    asyncio.run(main())
