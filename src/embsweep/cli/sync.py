"""`embsweep sync`: make MLflow say what the ledger of a sweep says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from embsweep.cli.status import find_sweep
from embsweep.core.names import CHAMPION
from embsweep.reports.text import plain_printer
from embsweep.search.read import read_metadata
from embsweep.sweep.folder import SHARED_STORAGE
from embsweep.sweep.sync import sync_sweep


def sync_request(name: str, *, storage: Path, uri: str | None, experiment: str | None, console: Console) -> None:
    """Write every run of a sweep to MLflow, register its winner if it is not registered there, and say what was done.

    Args:
        name: The sweep.
        storage: The storage folder, which contains `sweeps/`.
        uri: The MLflow store, by default the one that the sweep has used.
        experiment: The experiment, by default the one that the sweep has used.
        console: The console to print to.

    Raises:
        InputError: If there is no such sweep, or the store cannot be used.
        SweepRefused: If the sweep is running.
        EmbsweepError: If MLflow does not answer, or the winner cannot be registered again.
    """
    say = plain_printer(console)
    folder = find_sweep(storage, name)
    folder = replace(folder, is_shared=bool(read_metadata(folder.ledger).get(SHARED_STORAGE)))
    with folder.hold():
        done = sync_sweep(folder, uri=uri, experiment=experiment, say=say)
    say(f"{done.store} has all {done.runs} runs of sweep '{name}' (experiment {done.store.experiment}).")
    if done.version is None:
        say("The sweep has no winner yet; its own command registers one.")
    elif not done.version.new:
        say(f"Its winner is registered there: {done.version.uri}")
    else:
        say(f"Its winner was registered there: {done.version.uri} (alias challenger).")
        say(
            f"The alias {CHAMPION} and the decisions of promote and rollback are kept in MLflow alone, so this store "
            f"cannot know them. If version {done.version.version} should serve: embsweep promote {done.version.name}"
        )
