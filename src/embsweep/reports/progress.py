"""Progress of a running sweep: a live table on a terminal, plain lines in a file or pipe."""

from __future__ import annotations

import time
from collections import Counter
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from embsweep.reports.text import TABLE_STYLE, duration, plain_printer, score
from embsweep.reports.view import SweepView

_SHOWN = 12
_STYLES = {"running": "cyan", "paused": "blue", "complete": "green", "stopped": "yellow", "failed": "red"}


def open_progress(console: Console) -> Progress:
    """Return a live table if `console` is a terminal, plain lines if it is a file or a pipe."""
    return LiveProgress(console) if console.is_terminal else Progress(console)


class Progress:
    """Display of a running sweep, as a context manager; it receives every change and prints a line for each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        """Print a permanent line."""
        plain_printer(self._console)(text)

    def update(self, view: SweepView, event: str) -> None:
        """Show a change of the sweep; `event` describes it in one line, if it is worth one."""
        if not event:
            return
        elapsed = duration(time.monotonic() - self._start)
        count = f"{len(view.rows)}/{{}} started" if view.has_rungs else f"{len(view.finished)}/{{}} done"
        self.say(f"[{elapsed}] {event} | {count.format(view.requested_trials)}, {_outlook(view)}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class LiveProgress(Progress):
    """Progress as a table that is redrawn in place."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._view: SweepView | None = None
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=False)

    def update(self, view: SweepView, event: str) -> None:
        """See `Progress.update`."""
        self._view = view

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        if self._view is None:
            return Text("")
        headline = f"{describe_view(self._view)}, {duration(time.monotonic() - self._start)} elapsed"
        return Group(Text(headline, style="bold"), build_table(self._view, shown=_SHOWN))


def build_table(view: SweepView, *, shown: int | None = None) -> Table:
    """Build the table of trials: the running ones, then the `shown` best of the others, the paused ones first."""
    table = Table(**TABLE_STYLE)
    table.add_column("trial", justify="right", no_wrap=True, min_width=5)
    table.add_column("state", no_wrap=True, min_width=8)
    for name in ("done", "best", "time"):
        table.add_column(name, justify="right", no_wrap=True, min_width=5)
    table.add_column("parameters")  # without no_wrap: on a narrow terminal, rich shortens only this column
    running = [row for row in view.rows if row.state == "running"]
    others = [row for row in view.rows if row.state != "running"]
    others.sort(key=lambda row: (row.state == "failed", -(row.best or 0.0), row.number))
    for row in (*running, *sorted(others[:shown], key=lambda row: row.state != "paused")):
        is_best = row is view.best
        # neither wrapped nor parsed as markup: an error message may have line ends and brackets
        text = Text((row.note or row.params).partition("\n")[0], no_wrap=True, overflow="ellipsis")
        state = Text(row.label or row.state, style=_STYLES[row.state])
        numbers = (f"{row.fraction:.0%}", score(row.best), duration(row.elapsed_s))
        table.add_row(f"{'★' * is_best}{row.number}", state, *numbers, text, style="bold" if is_best else None)
    if shown is not None and len(others) > shown:
        table.add_row(*[""] * 5, Text(f"and {len(others) - shown} more", style="dim"))
    return table


def describe_view(view: SweepView) -> str:
    """Describe the progress and the best result of a sweep in one line."""
    count = f"{len(view.rows)} of {{}} trials started" if view.has_rungs else f"{len(view.finished)} of {{}} trials"
    return f"{view.name}: {count.format(view.requested_trials)}, {_outlook(view)}"


def _outlook(view: SweepView) -> str:
    states = Counter(row.state for row in view.rows)
    best = f"best {score(view.best.best) if view.best else '–'} (base {score(view.baseline)})"
    if view.has_rungs:
        counts = [f"{states[state]} {state}" for state in ("paused", "stopped", "failed") if states[state]]
        return ", ".join([f"{states['complete']} finished", *counts, best])
    parts = [best, f"{states['stopped']} stopped", *([f"{states['failed']} failed"] if states["failed"] else [])]
    remaining = view.remaining_s()
    if len(view.finished) < view.requested_trials and remaining is not None:
        parts.append(f"about {duration(remaining)} left")
    return ", ".join(parts)
