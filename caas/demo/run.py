"""`caas demo`: up, shown, and down again; or once through the story."""

import asyncio
import json
import sys
from pathlib import Path

from rich.console import Console

from caas.demo.display import StartDisplay, show_welcome
from caas.demo.layout import BRISK, LIVELY
from caas.demo.live import show_live_line
from caas.demo.platform import Prefer, Running, erase, platform
from caas.demo.storyline import print_entry, print_summary
from caas.story.run import tell
from caas.story.timeline import Timeline
from caas.supervisor.errors import StoppedEarly


def run_demo(data_dir: Path, *, vehicles: int, prefer: Prefer) -> None:
    """Bring everything up, show it, and keep it up until a stop signal."""
    asyncio.run(_demo(_folder(data_dir, "demo"), vehicles, prefer))


def reset_demo(data_dir: Path) -> None:
    """Forget everything the demo has made."""
    erase(data_dir / "demo")


def run_once(
    data_dir: Path, *, vehicles: int, prefer: Prefer, as_json: bool, kill: str | None = None
) -> bool:
    """The story from nothing to its end; True when every check held."""
    return asyncio.run(_once(_folder(data_dir, "once"), vehicles, prefer, as_json, kill))


def _folder(data_dir: Path, name: str) -> Path:
    folder = (data_dir / name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def _demo(data_dir: Path, vehicles: int, prefer: Prefer) -> None:
    console = Console(highlight=False)
    display = StartDisplay(console)
    try:
        with display:
            async with platform(
                data_dir, vehicles=vehicles, pace=LIVELY, prefer=prefer, on_event=display.on_event
            ) as running:
                display.__exit__(None, None, None)
                await _show(running, console)
    except StoppedEarly as stopped:
        console.print(f"Not all was up: {stopped}.")
    console.print("All stopped. Your data is kept; `make demo-reset` starts over.")


async def _show(running: Running, console: Console) -> None:
    show_welcome(console, running)
    line = asyncio.create_task(show_live_line(running, console))
    try:
        await running.supervisor.wait()
    finally:
        line.cancel()
        await asyncio.gather(line, return_exceptions=True)
        console.print("Stopping…")


async def _once(
    data_dir: Path, vehicles: int, prefer: Prefer, as_json: bool, kill: str | None
) -> bool:
    # On standard error, so that --json leaves standard output to the machine.
    console = Console(file=sys.stderr, highlight=False)
    erase(data_dir)
    timeline = Timeline(lambda entry: print_entry(console, entry))
    display = StartDisplay(console)
    with display:
        async with platform(
            data_dir, vehicles=vehicles, pace=BRISK, prefer=prefer, on_event=display.on_event
        ) as running:
            display.__exit__(None, None, None)
            await tell(running, timeline, kill=kill)
    stopped_by = running.supervisor.stopped_by
    if stopped_by is not None:
        timeline.fail(f"{stopped_by.name} ended the story early")
    if as_json:
        sys.stdout.write(json.dumps(timeline.as_dict(), indent=1) + "\n")
    print_summary(console, timeline)
    return timeline.ok
