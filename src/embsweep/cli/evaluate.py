"""`embsweep evaluate`: evaluate any model on any data at every dimension, with the same metrics as a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from embsweep.cli.composition.compose import config_loader, resolve_partially
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.cli.json_output import check_json_file, write_json_file
from embsweep.cli.paths import default_storage
from embsweep.config import Config
from embsweep.config.root import check_measurable
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection, RetrievalSet
from embsweep.data.splits import as_retrieval_set, split_collection
from embsweep.reports.text import score
from embsweep.selection.scores import Scores, scores_to_json
from embsweep.sweep.checks.inputs import deduplicate, find_storage, parse_config, parse_data, validate_chosen_model

SPLITS = ("all", "validation", "test")


@dataclass(frozen=True)
class EvaluationRequest:
    """Model and data of an evaluation, all checked; `notes` describes what of the source was merged or left out."""

    config: Config
    split: str
    data: RetrievalSet
    notes: tuple[str, ...]


def check_evaluation(
    values: Mapping[str, Any], split: str, default_storage: Path, earlier: Iterable[Diagnostic] = ()
) -> EvaluationRequest:
    """Check configuration, model and data.

    Args:
        values: The composed configuration as plain values.
        split: One of `SPLITS`.
        default_storage: Storage folder if the configuration names none.
        earlier: Diagnostics found before, which are reported too.

    Raises:
        InputError: If anything is wrong, with all diagnostics.
    """
    diagnostics = list(earlier)
    config, found = parse_config(values, diagnostics, check_measurable)
    diagnostics.extend(found)
    if config is not None:
        diagnostics.extend(validate_chosen_model(config.model, diagnostics))
    collection, found = parse_data(values, find_storage(values, default_storage), is_valid=not diagnostics)
    diagnostics.extend(found)
    if config is None or collection is None or diagnostics:
        raise InputError(deduplicate(diagnostics))
    return EvaluationRequest(config, split, *_choose_side(collection, config, split))


def _choose_side(collection: Collection, config: Config, split: str) -> tuple[RetrievalSet, tuple[str, ...]]:
    how, max_pairs = config.data.split, config.data.max_pairs
    if split == "all":
        return as_retrieval_set(collection, how.seed, max_pairs)
    splits = split_collection(collection, how, max_pairs)
    return (splits.validation if split == "validation" else splits.test), splits.notes


def measure(request: EvaluationRequest) -> tuple[Scores, dict[str, float]]:
    """Evaluate the model and BM25; return the model's metrics at every dimension and those of BM25."""
    from embsweep.evaluation.bm25 import evaluate_bm25
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.builders import build_model

    trial = request.config.trial
    model = build_model(trial.model)
    scores = evaluate_model(model, request.data, trial.eval_dims, batch_size=trial.eval.batch_size).scores
    return scores, evaluate_bm25(request.data)


_SHOWN = ("map@100", "ndcg@10", "mrr@10", "accuracy@1", "recall@10")


def evaluate_request(overrides: Sequence[str], *, split: str, json_file: Path | None, console: Console) -> None:
    """Check everything, evaluate, print a table and write the file.

    Args:
        overrides: Overrides as for a sweep, but none may sweep its key.
        split: One of `SPLITS`: `all` judged queries, or one side of the sweep's split.
        json_file: File for the scores as JSON, if one is wanted.
        console: The console to print to.

    Raises:
        InputError: If the command line, the configuration, the model or the data are invalid, with all diagnostics.
        CodedError: If `json_file` cannot be written after the evaluation.
    """
    diagnostics = (
        [] if split in SPLITS else [Diagnostic("unknown-option", "--split", "unknown", split, ", ".join(SPLITS))]
    )
    if json_file is not None:
        diagnostics.extend(check_json_file(json_file))
    with config_loader() as loader:
        line = parse_command_line(loader, overrides)
        diagnostics.extend(line.diagnostics)
        diagnostics.extend(
            Diagnostic("not-sweepable", o.get_key_element(), "cannot be swept here", o.input_line, "one value")
            for o in line.swept
        )
        try:
            values, unresolved = resolve_partially(line.tree)
        except InputError as error:
            raise InputError([*diagnostics, *error.diagnostics]) from None
    diagnostics.extend(unresolved)
    request = check_evaluation(values, split, default_storage(), diagnostics)
    scores, bm25 = measure(request)
    console.print(
        f"{request.config.model.name} on {_describe(request.data)}", highlight=False, markup=False, soft_wrap=True
    )
    for note in request.notes:
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    console.print(_table(scores, bm25))
    if json_file is not None:
        write_json_file(json_file, _to_json(request, scores, bm25))
        console.print(f"Written: {json_file}", highlight=False, markup=False, soft_wrap=True)


def _describe(data: RetrievalSet) -> str:
    return f"{data.name}: {len(data.queries)} queries, {len(data.corpus)} passages"


def _table(scores: Scores, bm25: dict[str, float]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("dim", *_SHOWN):
        table.add_column(name, justify="right", no_wrap=True)
    for dim in sorted(scores, reverse=True):
        table.add_row(str(dim), *(score(scores[dim][metric]) for metric in _SHOWN))
    table.add_row("BM25", *(score(bm25[metric]) for metric in _SHOWN), style="dim")
    return table


def _to_json(request: EvaluationRequest, scores: Scores, bm25: dict[str, float]) -> dict[str, Any]:
    return {
        "model": request.config.model.model_dump(mode="json"),
        "data": request.config.data.model_dump(mode="json"),
        "split": request.split,
        "queries": len(request.data.queries),
        "passages": len(request.data.corpus),
        "notes": list(request.notes),
        "scores": scores_to_json(scores),
        "bm25": bm25,
    }
