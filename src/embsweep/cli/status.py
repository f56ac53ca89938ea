"""`embsweep status`: show the state of sweeps, read from their ledgers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from embsweep.core.errors import Diagnostic, EmbsweepError, InputError, did_you_mean
from embsweep.reports.progress import build_table, describe_view
from embsweep.reports.text import score
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
    views, problems = _read_all(storage)
    if name is None:
        if views or not problems:
            console.print(_overview(views) if views else f"No sweeps under {storage / 'sweeps'}.", markup=False)
        for problem in problems.values():
            console.print(str(problem), markup=False, highlight=False, soft_wrap=True)
        return
    if name in problems:
        raise problems[name]
    if name not in views:
        raise _unknown(name, sorted(views))
    console.print(views[name].title, highlight=False, soft_wrap=True)
    console.print(describe_view(views[name]), highlight=False, soft_wrap=True)
    console.print(build_table(views[name]))
    folder = SweepFolder(storage, name)
    if pending := count_pending(folder.synced, project_ledger(folder.ledger)):
        console.print(
            f"{pending:,} runs are not in MLflow as the ledger has them; the sweep, its command run again, or "
            f"`embsweep sync {name}` writes them.",
            highlight=False,
            soft_wrap=True,
        )


def find_sweep(storage: Path, name: str) -> SweepFolder:
    """Return the folder of a sweep.

    Args:
        storage: The storage folder, which contains `sweeps/`.
        name: The sweep.

    Raises:
        InputError: If there is no such sweep.
    """
    known = sorted(path.parent.name for path in (storage / "sweeps").glob("*/study.db"))
    if name not in known:
        raise _unknown(name, known)
    return SweepFolder(storage, name)


def _unknown(name: str, known: Sequence[str]) -> InputError:
    accepted = ", ".join(known) or "none yet"
    return InputError(Diagnostic("unknown-name", "NAME", "no such sweep", name, accepted, did_you_mean(name, known)))


def _read_all(storage: Path) -> tuple[dict[str, SweepView], dict[str, EmbsweepError]]:
    """Return the view of every sweep by name, and the error of each ledger that cannot be read."""
    views, problems = {}, {}
    for path in sorted((storage / "sweeps").glob("*/study.db")):
        name = path.parent.name
        try:
            found = read_ledger(SweepFolder(storage, name).ledger)
        except EmbsweepError as error:
            problems[name] = error
            continue
        if found is not None and "name" in found[0]:
            views[name] = build_view(dict(found[0]), found[1])
    return views, problems


def _overview(views: dict[str, SweepView]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("sweep", no_wrap=True)
    for column in ("trials", "stopped", "failed", "base", "best"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, view in views.items():
        counts = [sum(row.state == state for row in view.rows) for state in ("stopped", "failed")]
        best = score(view.best.best) if view.best else "–"
        table.add_row(
            name, f"{len(view.finished)}/{view.requested_trials}", *map(str, counts), score(view.baseline), best
        )
    return table
