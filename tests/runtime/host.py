"""A supervisor as a program of its own, to be killed by a test: ``python host.py DATA_DIR``."""

import asyncio
import signal
import sys
from pathlib import Path

from caas.supervisor.supervisor import Supervisor
from tests.runtime.programs import PARENT, sleeper


async def main() -> None:
    data = Path(sys.argv[1])
    async with Supervisor(data) as supervisor:
        await supervisor.start_all(
            [
                sleeper(data, "database"),
                sleeper(data, "service", needs=["database"], program=PARENT),
            ]
        )
        grandchild = (data / "service.up").read_text(encoding="ascii")
        pids = [supervisor.pid("database"), supervisor.pid("service"), grandchild]
        print(*pids, supervisor.keeper_pid, flush=True)
        await supervisor.wait()
    print("stopped by", supervisor.stopped_by.name if supervisor.stopped_by else None, flush=True)


if __name__ == "__main__":
    # Under nohup it would be inherited as ignored, which a supervisor respects.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    asyncio.run(main())
