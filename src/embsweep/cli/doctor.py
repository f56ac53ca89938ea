"""`embsweep doctor`: check this machine and its GPUs."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from embsweep.doctor.run import run_doctor
from embsweep.reports.text import plain_printer


def check_machine(storage: Path, console: Console, *, is_all: bool) -> bool:
    """Print the facts about this machine and run steps on its GPUs; return whether nothing is wrong.

    Args:
        storage: The storage folder, which contains `sweeps/`.
        console: The console to print to.
        is_all: Run all steps, not only the quick ones.
    """
    return run_doctor(plain_printer(console), storage=storage, store=describe_store(storage), is_all=is_all)


def describe_store(storage: Path) -> str:
    """Return where records go that no `tracking.uri` sends elsewhere, and whether the file exists."""
    from embsweep.tracking.location import URI, environment_uri
    from embsweep.tracking.store import store_uri

    named = environment_uri()
    if named is not None:
        return f"{named} (from {URI})"
    uri = store_uri(storage, None)
    is_there = (storage / "mlflow.db").exists()
    return f"{uri}{'' if is_there else ' (not created yet)'}"
