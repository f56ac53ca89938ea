"""`embsweep audit`: check the data as a sweep would, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from embsweep.audit.findings import validate_waivers
from embsweep.audit.naive_evaluation import NaiveComparison, build_row_evaluation, compare_evaluations
from embsweep.audit.report import report_to_json
from embsweep.audit.run import audit_data
from embsweep.audit.split_view import build_split_view
from embsweep.cli.audit_table import show_report
from embsweep.cli.inputs import read_inputs, write_json_file
from embsweep.config import Config
from embsweep.config.rehearsal import plan_rehearsal
from embsweep.core.errors import Diagnostic
from embsweep.core.gpu_errors import explain_gpu_errors
from embsweep.data.collection import Splits
from embsweep.data.splits import split_collection
from embsweep.reports.text import plain_printer
from embsweep.sweep.checks.inputs import validate_chosen_model


def audit(overrides: Sequence[str], *, with_model: bool, json_file: Path | None, console: Console) -> bool:
    """Check everything, audit the data, print the report and write the file.

    The data is audited as a full sweep would use it, even without a GPU; `scale=rehearsal` audits a rehearsal's data.

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

    def validate(config: Config, found: Sequence[Diagnostic]) -> Iterator[Diagnostic]:
        yield from validate_waivers(config.audit.waive)
        yield from validate_chosen_model(_scale(config).model, found) if with_model else ()

    requested, collection, swept = read_inputs(overrides, json_file, validate, may_sweep=True)
    config = _scale(requested)
    splits = split_collection(collection, config.data.split, config.data.max_pairs)
    with console.status("Auditing the data"):
        report = audit_data(collection, splits, config=config.audit, model=config.model, train=config.train)
        if with_model:
            readings = (*report.figures.readings, _rank_base(config, splits))
            report = replace(report, figures=replace(report.figures, readings=readings))
    show_report(report, console)
    say = plain_printer(console)
    for line in splits.reading:
        say(f"Data: {line}")
    for line in swept:
        say(f"Swept, and audited at the recipe's value: {line}")
    if json_file is not None:
        write_json_file(json_file, report_to_json(report))
        say(f"Written: {json_file}")
    return not report.unwaived


def _rank_base(config: Config, splits: Splits) -> NaiveComparison:
    from embsweep.evaluation.evaluator import encode_texts
    from embsweep.evaluation.metrics import MAX_RANK
    from embsweep.evaluation.ranking import rank
    from embsweep.models.builders import build_model

    evaluation = build_row_evaluation(build_split_view(splits))
    with explain_gpu_errors("ranking with the base model"):
        model, size = build_model(config.model), config.eval.batch_size
        queries = encode_texts(model, evaluation.data.queries, "query", batch_size=size)
        corpus = encode_texts(model, evaluation.data.corpus, "document", batch_size=size)
    ranking = rank(queries, corpus, [corpus.shape[1]], MAX_RANK)[corpus.shape[1]]
    return compare_evaluations(config.model.name, ranking.cpu().numpy(), evaluation)


def _scale(config: Config) -> Config:
    """Scale the configuration for an explicit rehearsal only: nothing is trained, so a GPU is not needed."""
    scale, epochs = config.scale, config.train.epochs
    return plan_rehearsal(scale.mode, has_gpu=True, longest_epochs=epochs, caps=scale.rehearsal).apply(config)
