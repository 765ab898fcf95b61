"""Test vectors of the command bus, for implementations in any language (docs/vectors)."""

import json
from collections.abc import Callable
from typing import Any

from core.contracts.vectors import commands, facts


def files() -> dict[str, Callable[[], str]]:
    """What makes the text of each file, by its name; the same code gives the same bytes."""
    made: dict[str, Callable[[], dict[str, Any]]] = {
        "commands.json": commands.document,
        "digests.json": facts.digests,
        "telemetry.json": facts.telemetry,
        "presence.json": facts.presence,
    }
    return {name: _as_text(make) for name, make in made.items()}


def _as_text(make: Callable[[], dict[str, Any]]) -> Callable[[], str]:
    return lambda: json.dumps(make(), indent=1, ensure_ascii=False) + "\n"
