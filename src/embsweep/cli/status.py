"""`embsweep status`: show the state of sweeps, read from their ledgers."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from embsweep.cli.console import number_table
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError, did_you_mean
from embsweep.reports.progress import build_table, describe_view
from embsweep.reports.text import plain_printer, score
from embsweep.reports.view import SweepView
from embsweep.search.read import read_ledger
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import build_view, project_ledger
from embsweep.tracking.sync import count_pending


def show_status(storage: Path, name: str | None, console: Console) -> None:
    """Print the table of one sweep, or one line per sweep.

    Args:
        storage: The storage folder, which contains `sweeps/`.
        name: The sweep; None lists all, followed by the errors of ledgers that cannot be read.
        console: The console to print to.

    Raises:
        InputError: If there is no sweep `name`.
        EmbsweepError: If its ledger cannot be read.
    """
    say = plain_printer(console)
    if name is None:
        views, problems = _read_all(storage)
        if views or not problems:
            console.print(_overview(views) if views else f"No sweeps under {storage / 'sweeps'}.")
        for problem in problems:
            say(problem)
        return
    folder = find_sweep(storage, name)
    if (view := _read_view(folder)) is None:
        raise InputError(Diagnostic("unknown-name", "NAME", "has recorded nothing yet", name))
    say(view.title)
    say(describe_view(view))
    console.print(build_table(view))
    if pending := count_pending(folder.synced, project_ledger(folder.ledger)):
        say(
            f"{pending:,} runs are not in MLflow as the ledger has them; the sweep, its command run again, or "
            f"`embsweep sync {name}` writes them."
        )


def find_sweep(storage: Path, name: str) -> SweepFolder:
    """Return the folder of a sweep.

    Args:
        storage: The storage folder, which contains `sweeps/`.
        name: The sweep.

    Raises:
        InputError: If there is no such sweep.
    """
    known = _list_sweeps(storage)
    if name not in known:
        accepted = ", ".join(known) or "none yet"
        raise InputError(Diagnostic("unknown-name", "NAME", "no such sweep", name, accepted, did_you_mean(name, known)))
    return known[name]


def _list_sweeps(storage: Path) -> dict[str, SweepFolder]:
    names = sorted(path.parent.name for path in (storage / "sweeps").glob("*/study.db"))
    return {name: SweepFolder(storage, name) for name in names}


def _read_view(folder: SweepFolder) -> SweepView | None:
    """Return the view of a sweep; None if it is just starting."""
    found = read_ledger(folder.ledger)
    return build_view(dict(found[0]), found[1]) if found is not None and "name" in found[0] else None


def _read_all(storage: Path) -> tuple[dict[str, SweepView], list[str]]:
    """Return the view of every sweep by name, and the error of each ledger that cannot be read."""
    views, problems = {}, []
    for name, folder in _list_sweeps(storage).items():
        try:
            views[name] = _read_view(folder)
        except EmbsweepError as error:
            problems.append(str(error))
    return {name: view for name, view in views.items() if view is not None}, problems


def _overview(views: dict[str, SweepView]) -> Table:
    paused = ["paused"] if any(view.has_rungs for view in views.values()) else []
    states = (*paused, "stopped", "failed")
    table = number_table("sweep", "trials", *states, "base", "best")
    for name, view in views.items():
        counts = [sum(row.state == state for row in view.rows) for state in states]
        best = score(view.best.best) if view.best else "–"
        table.add_row(
            name, f"{len(view.finished)}/{view.requested_trials}", *map(str, counts), score(view.baseline), best
        )
    return table
