"""`caas contracts`: writes the published form of the command bus, or says where it has drifted."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from core.contracts import asyncapi, vectors
from core.errors import Conflict


def contracts(
    folder: Annotated[Path, typer.Option("--to", help="The folder docs/.")] = Path("docs"),
    check: Annotated[bool, typer.Option(help="Write nothing; exit 1 if a file differs.")] = False,
) -> None:
    """Write asyncapi.yaml and the test vectors; --check only says whether they are up to date."""
    stale = [name for name, make in FILES.items() if _read(folder / name) != make()]
    if check:
        if stale:
            names = ", ".join(str(folder / name) for name in stale)
            raise Conflict(
                "CONTRACTS_DRIFTED", f"{names}: not as the code has it; `caas contracts`"
            )
        typer.echo("The published contracts are those of the code.")
        return
    for name in stale:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(FILES[name](), encoding="utf-8")
    typer.echo("\n".join(f"wrote {folder / name}" for name in stale) or "All up to date.")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


FILES: dict[str, Callable[[], str]] = {
    "asyncapi.yaml": asyncapi.text,
    **{f"vectors/{name}": make for name, make in vectors.files().items()},
}
