"""`embsweep status`: show the state of sweeps, read from their ledgers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from embsweep.cli.champion import find_unrecorded
from embsweep.cli.console import number_table
from embsweep.cli.importance_table import print_importance
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError, did_you_mean
from embsweep.reports.progress import build_table, describe_view
from embsweep.reports.text import plain_printer, score
from embsweep.reports.view import SweepView
from embsweep.search.importance import read_importance
from embsweep.search.read import explain_damage, read_ledger
from embsweep.sweep.folder import SweepFolder, check_storage
from embsweep.sweep.projection import build_view, project_ledger
from embsweep.tracking.sync import count_pending


def show_status(storage: Path, name: str | None, console: Console, *, importance: bool = False) -> None:
    """Print the table of one sweep, or one line per sweep.

    Args:
        storage: The storage folder, which contains `sweeps/`.
        name: The sweep; None lists all, followed by the errors of ledgers that cannot be read.
        console: The console to print to.
        importance: Whether to print what mattered instead of the trials of the sweep.

    Raises:
        InputError: If there is no sweep `name`, none is named of which to print what mattered, or the storage is not
            safe (see `find_sweep`).
        EmbsweepError: If its ledger cannot be read.
    """
    say = plain_printer(console)
    if name is None and importance:
        raise InputError(Diagnostic("missing-value", "NAME", "is missing; --importance describes one sweep"))
    if name is None:
        rows, problems = _read_all(storage)
        if rows or not problems:
            console.print(_overview(rows) if rows else f"No sweeps under {storage / 'sweeps'}.")
        for problem in problems:
            say(problem)
        return
    folder = find_sweep(storage, name)
    if (view := _read_view(folder)) is None:
        raise InputError(Diagnostic("unknown-name", "NAME", "has recorded nothing yet", name))
    with explain_damage(folder.ledger):
        lines, table = (view.title, describe_view(view)), build_table(view)
    for line in lines:
        say(line)
    if importance:
        print_importance(read_importance(folder.ledger), console)
        return
    console.print(table)
    if pending := count_pending(folder.synced, project_ledger(folder.ledger)):
        say(
            f"{pending:,} runs are not in MLflow as the ledger has them; the sweep, its command run again, or "
            f"`embsweep sync {name}` writes them."
        )
    if unrecorded := find_unrecorded(folder):
        say(f"Warning: {unrecorded}")


def find_sweep(storage: Path, name: str) -> SweepFolder:
    """Return the folder of a sweep.

    Args:
        storage: The storage folder, which contains `sweeps/`.
        name: The sweep.

    Raises:
        InputError: If there is no such sweep, or other users than the storage's group may change it.
    """
    known = _list_sweeps(storage)
    if name not in known:
        accepted = ", ".join(known) or "none yet"
        raise InputError(Diagnostic("unknown-name", "NAME", "no such sweep", name, accepted, did_you_mean(name, known)))
    return known[name]


def _list_sweeps(storage: Path) -> dict[str, SweepFolder]:
    check_storage(storage, is_shared=True)
    names = sorted(path.parent.name for path in (storage / "sweeps").glob("*/study.db"))
    return {name: SweepFolder(storage, name) for name in names}


def _read_view(folder: SweepFolder) -> SweepView | None:
    """Return the view of a sweep; None if it is just starting."""
    with explain_damage(folder.ledger):
        found = read_ledger(folder.ledger)
        return build_view(dict(found[0]), found[1]) if found is not None and "name" in found[0] else None


@dataclass(frozen=True)
class _Row:
    """One sweep in the table of all."""

    name: str
    finished: str
    counts: dict[str, int]
    baseline: str
    best: str
    has_rungs: bool


def _read_all(storage: Path) -> tuple[list[_Row], list[str]]:
    """Return the row of every sweep, and the error of each ledger that cannot be read."""
    rows, problems = [], []
    for name, folder in _list_sweeps(storage).items():
        try:
            with explain_damage(folder.ledger):
                if (view := _read_view(folder)) is not None:
                    rows.append(_to_row(name, view))
        except EmbsweepError as error:
            problems.append(str(error))
    return rows, problems


def _to_row(name: str, view: SweepView) -> _Row:
    return _Row(
        name,
        f"{len(view.finished)}/{view.requested_trials}",
        Counter(row.state for row in view.rows),
        score(view.baseline),
        score(view.best.best) if view.best else "–",
        view.has_rungs,
    )


def _overview(rows: list[_Row]) -> Table:
    states = [*(["paused"] if any(row.has_rungs for row in rows) else []), "stopped", "failed"]
    table = number_table("sweep", "trials", *states, "base", "best")
    for row in rows:
        counts = [str(row.counts.get(state, 0)) for state in states]
        table.add_row(Text(row.name), row.finished, *counts, row.baseline, row.best)
    return table
