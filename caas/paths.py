"""Where files that are not code lie: in the checkout, or in the installed package."""

from pathlib import Path

from core.errors import NotFound

_PACKAGE = Path(__file__).parent


def resource(name: str) -> Path:
    """The folder ``migrations`` or ``mosquitto``, from a checkout or from the wheel."""
    for base in (_PACKAGE / "_data", _PACKAGE.parent):
        if (base / name).is_dir():
            return base / name
    raise NotFound("NO_RESOURCE", f"this installation lacks {name}/: install the project anew")
