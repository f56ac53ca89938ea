"""`embsweep report`: write the report of a sweep, or of two side by side."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from embsweep.cli.paths import default_storage
from embsweep.cli.status import find_sweep
from embsweep.reports.text import plain_printer
from embsweep.sweep.report import write_comparison, write_report


def report_request(
    name: str, other: str | None, *, storage: Path, output: Path | None, texts: bool, console: Console
) -> None:
    """Write the report of a sweep, or of two side by side, and print its path.

    Args:
        name: The sweep.
        other: The second sweep, None for the report of one.
        storage: The storage folder, which contains `sweeps/`.
        output: The file, by default `report.html` in the sweep's folder.
        texts: Whether texts of the data may be shown.
        console: The console to print to.

    Raises:
        InputError: If there is no such sweep.
        EmbsweepError: If its ledger cannot be read, or has recorded nothing yet.
    """
    folder = find_sweep(storage, name)
    second = None if other is None else find_sweep(storage, other)
    with console.status("Drawing the charts"):
        if second is None:
            path = write_report(folder, default_storage=default_storage(), output=output, texts=texts)
        else:
            path = write_comparison((folder, second), default_storage=default_storage(), output=output)
    plain_printer(console)(f"Report: {path}")
