"""Time zones are there where the system brings none."""

import os
import subprocess
import sys


def test_zones_come_from_the_package_where_the_system_has_no_files() -> None:
    script = (
        "import zoneinfo as z; z.ZoneInfo('Europe/Madrid'); print(len(z.available_timezones()))"
    )
    found = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(found.stdout) > 400
