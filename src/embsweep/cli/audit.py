"""The third use case: audit the data as a sweep would, without a sweep.

`embsweep audit`: what is wrong with the data, before anything is trained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from embsweep.audit.findings import check_waivers
from embsweep.audit.naive_evaluation import NaiveComparison, build_row_evaluation, compare_readings
from embsweep.audit.report import AuditReport, report_to_json
from embsweep.audit.run import audit_data
from embsweep.audit.split_view import build_split_view
from embsweep.cli.audit_table import show_report
from embsweep.cli.composition.compose import compose, config_loader, resolve_partially
from embsweep.cli.composition.overrides import check_overrides
from embsweep.cli.evaluate import is_sweep
from embsweep.cli.json_output import check_json_file, write_json_file
from embsweep.cli.paths import default_storage
from embsweep.config import Config
from embsweep.config.rehearsal import plan_rehearsal
from embsweep.config.root import check_measurable
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection, Splits
from embsweep.data.splits import split_collection
from embsweep.sweep.checks.inputs import check_chosen_model, checked_config, checked_data, deduplicate, find_storage


@dataclass(frozen=True)
class AuditRequest:
    """What is audited; everything in it was checked."""

    config: Config
    collection: Collection
    splits: Splits


def check_audit(
    values: Mapping[str, Any], default_storage: Path, earlier: Iterable[Diagnostic] = (), *, with_model: bool
) -> AuditRequest:
    """Check configuration and data, and the model where it is to rank. InputError with every fault.

    Without a GPU the data is audited as a full sweep would use it all the same; scale=rehearsal audits a rehearsal's.
    """
    diagnostics = list(earlier)
    asked = checked_config(values, diagnostics, check_measurable)
    config = asked and _scale(asked)
    if config is not None:
        diagnostics.extend(check_waivers(config.audit.waive))
        diagnostics.extend(check_chosen_model(config.model, diagnostics) if with_model else ())
    collection = checked_data(values, find_storage(values, default_storage), diagnostics)
    if config is None or collection is None or diagnostics:
        raise InputError(deduplicate(diagnostics))
    return AuditRequest(config, collection, split_collection(collection, config.data.split, config.data.max_pairs))


def run_audit(request: AuditRequest, *, with_model: bool) -> AuditReport:
    """The report, and in its figures the base model's own ranking beside BM25's where it is asked for."""
    config = request.config
    report = audit_data(request.collection, request.splits, config=config.audit, model=config.model, train=config.train)
    if not with_model:
        return report
    readings = (*report.figures.readings, _rank_base(request))
    return replace(report, figures=replace(report.figures, readings=readings))


def _rank_base(request: AuditRequest) -> NaiveComparison:
    from embsweep.evaluation.evaluator import encode_texts
    from embsweep.evaluation.metrics import MAX_RANK
    from embsweep.evaluation.ranking import rank
    from embsweep.models.registry import build_model

    evaluation = build_row_evaluation(build_split_view(request.splits))
    model, size = build_model(request.config.model), request.config.eval.batch_size
    queries = encode_texts(model, evaluation.data.queries, "query", batch_size=size)
    corpus = encode_texts(model, evaluation.data.corpus, "document", batch_size=size)
    ranking = rank(queries, corpus, MAX_RANK).cpu().numpy()
    return compare_readings(request.config.model.name, ranking, evaluation)


def _scale(config: Config) -> Config:
    """Nothing is trained here, so only an explicit rehearsal is one."""
    scale = plan_rehearsal(
        config.scale.mode, has_gpu=True, longest_epochs=config.train.epochs, caps=config.scale.rehearsal
    )
    return scale.apply(config)


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
    diagnostics = [] if json_file is None else check_json_file(json_file)
    with config_loader() as loader:
        good, found = check_overrides(loader, overrides)
        diagnostics.extend(found)
        swept = [line for line in good if is_sweep(line)]
        try:
            values, unresolved = resolve_partially(compose(loader, [line for line in good if line not in swept]))
        except InputError as error:
            raise InputError([*diagnostics, *error.diagnostics]) from None
    diagnostics.extend(unresolved)
    return check_audit(values, default_storage(), diagnostics, with_model=with_model), swept
