"""`embsweep audit`: what is wrong with the data, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from embsweep.app.audit_view import show_report
from embsweep.app.composer import compose, config_loader, draft_values
from embsweep.app.evaluate import is_sweep
from embsweep.app.json_file import check_json_file, write_json_file
from embsweep.app.overrides import check_overrides
from embsweep.app.paths import default_storage
from embsweep.audit.report import report_to_json
from embsweep.errors import InputError
from embsweep.sweep.audit import AuditRequest, check_audit, run_audit


def audit_request(overrides: Sequence[str], *, with_model: bool, json_file: Path | None, console: Console) -> bool:
    """Check everything, audit, print the report and write the file; whether a sweep may start.

    The command line is that of a sweep: a key that it sweeps is left at the recipe's value. InputError with every
    fault of the command line, the configuration or the data.
    """
    request, swept = _read_request(overrides, json_file, with_model=with_model)
    with console.status("Auditing the data"):
        report = run_audit(request, with_model=with_model)
    show_report(report, console)
    for line in swept:
        console.print(f"Swept, and audited at the recipe's value: {line}", highlight=False, markup=False)
    if json_file is not None:
        write_json_file(json_file, report_to_json(report))
        console.print(f"Written: {json_file}", highlight=False, markup=False, soft_wrap=True)
    return not report.unwaived


def _read_request(
    overrides: Sequence[str], json_file: Path | None, *, with_model: bool
) -> tuple[AuditRequest, list[str]]:
    faults = [] if json_file is None else check_json_file(json_file)
    with config_loader() as loader:
        good, found = check_overrides(loader, overrides)
        faults.extend(found)
        swept = [line for line in good if is_sweep(line)]
        try:
            values, unresolved = draft_values(compose(loader, [line for line in good if line not in swept]))
        except InputError as error:
            raise InputError([*faults, *error.faults]) from None
    faults.extend(unresolved)
    return check_audit(values, default_storage(), faults, with_model=with_model), swept
