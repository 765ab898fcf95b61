"""The story's timeline on a screen."""

from rich.console import Console
from rich.text import Text

from caas.story.timeline import Entry, Timeline


def print_entry(console: Console, entry: Entry) -> None:
    """One line: when, and what."""
    if entry.kind == "chapter":
        console.print(Text(f"\n{entry.text}", style="bold"))
        return
    mark, style = {"step": ("→", ""), "check": ("✓", "green")}[entry.kind]
    if not entry.ok:
        mark, style = "✗", "bold red"
    line = Text(f"{entry.at_s:7.2f} s  ", style="dim")
    console.print(line.append(f"{mark} {entry.text}", style=style), soft_wrap=True)


def print_summary(console: Console, timeline: Timeline) -> None:
    """How it ended."""
    verdict = "All held" if timeline.ok else "NOT all held"
    style = "bold green" if timeline.ok else "bold red"
    console.print(
        Text(f"\n{verdict}: {timeline.checks} checks in {timeline.seconds:.1f} s.", style=style)
    )
