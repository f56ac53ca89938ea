"""`embsweep audit`: check the data as a sweep would, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from embsweep.audit.findings import check_waivers
from embsweep.audit.naive_evaluation import NaiveComparison, build_row_evaluation, compare_evaluations
from embsweep.audit.report import AuditReport, report_to_json
from embsweep.audit.run import audit_data
from embsweep.audit.split_view import build_split_view
from embsweep.cli.audit_table import show_report
from embsweep.cli.composition.compose import config_loader, resolve_partially
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.cli.json_output import check_json_file, write_json_file
from embsweep.cli.paths import default_storage
from embsweep.config import Config
from embsweep.config.rehearsal import plan_rehearsal
from embsweep.config.root import check_measurable
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection, Splits
from embsweep.data.splits import split_collection
from embsweep.sweep.checks.inputs import deduplicate, find_storage, parse_config, parse_data, validate_chosen_model


@dataclass(frozen=True)
class AuditRequest:
    """Data to audit and its configuration, all of them checked."""

    config: Config
    collection: Collection
    splits: Splits


def check_audit_request(
    values: Mapping[str, Any], default_storage: Path, earlier: Iterable[Diagnostic] = (), *, with_model: bool
) -> AuditRequest:
    """Check configuration and data, and the model if it is used.

    The data is audited as a full sweep would use it, even without a GPU; `scale=rehearsal` audits a rehearsal's data.

    Args:
        values: The composed configuration as plain values.
        default_storage: Storage folder if the configuration names none.
        earlier: Diagnostics found before, which are reported too.
        with_model: Whether the base model ranks, too, and is therefore checked.

    Raises:
        InputError: If anything is wrong, with all diagnostics.
    """
    diagnostics = list(earlier)
    requested, found = parse_config(values, diagnostics, check_measurable)
    diagnostics.extend(found)
    config = requested and _scale(requested)
    if config is not None:
        diagnostics.extend(check_waivers(config.audit.waive))
        diagnostics.extend(validate_chosen_model(config.model, diagnostics) if with_model else ())
    collection, found = parse_data(values, find_storage(values, default_storage), is_valid=not diagnostics)
    diagnostics.extend(found)
    if config is None or collection is None or diagnostics:
        raise InputError(deduplicate(diagnostics))
    return AuditRequest(config, collection, split_collection(collection, config.data.split, config.data.max_pairs))


def run_audit(request: AuditRequest, *, with_model: bool) -> AuditReport:
    """Audit the data and return the report; `with_model` adds scores of the base model's ranking to BM25's."""
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
    from embsweep.models.builders import build_model

    evaluation = build_row_evaluation(build_split_view(request.splits))
    model, size = build_model(request.config.model), request.config.eval.batch_size
    queries = encode_texts(model, evaluation.data.queries, "query", batch_size=size)
    corpus = encode_texts(model, evaluation.data.corpus, "document", batch_size=size)
    ranking = rank(queries, corpus, MAX_RANK).cpu().numpy()
    return compare_evaluations(request.config.model.name, ranking, evaluation)


def _scale(config: Config) -> Config:
    """Scale the configuration for an explicit rehearsal only: nothing is trained, so a GPU is not needed."""
    scale = plan_rehearsal(
        config.scale.mode, has_gpu=True, longest_epochs=config.train.epochs, caps=config.scale.rehearsal
    )
    return scale.apply(config)


def audit_request(overrides: Sequence[str], *, with_model: bool, json_file: Path | None, console: Console) -> bool:
    """Check everything, audit the data, print the report and write the file.

    Args:
        overrides: Overrides as for a sweep. A swept key keeps the recipe's value.
        with_model: Rank with the base model too, not only with BM25.
        json_file: File for the report as JSON, if one is wanted.
        console: The console to print to.

    Returns:
        Whether a sweep with this data may start: every error found is waived.

    Raises:
        InputError: If the command line, the configuration or the data are invalid, with all diagnostics.
        CodedError: If `json_file` cannot be written after the audit.
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
        line = parse_command_line(loader, overrides)
        diagnostics.extend(line.diagnostics)
        swept = [str(override.input_line) for override in line.swept]
        try:
            values, unresolved = resolve_partially(line.tree)
        except InputError as error:
            raise InputError([*diagnostics, *error.diagnostics]) from None
    diagnostics.extend(unresolved)
    return check_audit_request(values, default_storage(), diagnostics, with_model=with_model), swept
