"""Every metric of every service begins with ``caas_`` and says what it is."""

import subprocess
import sys

import pytest

from caas.services import SERVICES

PROGRAM = """
import importlib, sys
from prometheus_client import REGISTRY
importlib.import_module(sys.argv[1])
for metric in REGISTRY.collect():
    print(metric.name, "|", metric.documentation)
"""


# The partner simulators make theirs for each application.
@pytest.mark.parametrize("service", [name for name in SERVICES if name != "partner-sims"])
def test_metrics_are_named_alike(service: str) -> None:
    module = SERVICES[service].entry.partition(":")[0]
    shown = subprocess.run(
        [sys.executable, "-c", PROGRAM, module], capture_output=True, text=True, check=True
    ).stdout
    metrics = dict(line.split(" | ", 1) for line in shown.splitlines())
    own = {name for name in metrics if not name.startswith(("python_", "process_"))}
    assert own
    for name in own:
        assert name.startswith("caas_")
        assert metrics[name].strip()
