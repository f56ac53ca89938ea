"""`embsweep evaluate`: evaluate any model on any data at every dimension, with the same metrics as a sweep."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from embsweep.cli.console import number_table
from embsweep.cli.inputs import read_inputs, write_json_file
from embsweep.config import Config
from embsweep.core.errors import Diagnostic
from embsweep.core.gpu_errors import explain_gpu_errors
from embsweep.data.collection import Collection, RetrievalSet
from embsweep.data.splits import as_retrieval_set, split_collection
from embsweep.models.usage import describe_usage
from embsweep.reports.text import plain_printer, score
from embsweep.selection.scores import Scores, scores_to_json
from embsweep.sweep.checks.inputs import validate_chosen_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

SPLITS = ("all", "validation", "test")
_SHOWN = ("map@100", "ndcg@10", "mrr@10", "accuracy@1", "recall@10")


def evaluate(overrides: Sequence[str], *, split: str, json_file: Path | None, console: Console) -> None:
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
    unknown = [] if split in SPLITS else [Diagnostic("unknown-option", "--split", "unknown", split, ", ".join(SPLITS))]
    config, collection, _ = read_inputs(
        overrides, json_file, lambda config, found: validate_chosen_model(config.model, found), earlier=unknown
    )
    data, notes = _choose_side(collection, config, split)
    scores, bm25 = measure(config, data, console)
    say = plain_printer(console)
    say(f"{config.model.name} on {data.name}: {len(data.queries)} queries, {len(data.corpus)} passages")
    for line in describe_usage(config.model):
        say(f"  {line}")
    for note in notes:
        say(f"  {note}")
    console.print(_table(scores, bm25))
    if json_file is not None:
        result = {
            "model": config.model.model_dump(mode="json"),
            "data": config.data.model_dump(mode="json"),
            "split": split,
            "queries": len(data.queries),
            "passages": len(data.corpus),
            "notes": list(notes),
            "scores": scores_to_json(scores),
            "bm25": bm25,
        }
        write_json_file(json_file, result)
        say(f"Written: {json_file}")


def measure(config: Config, data: RetrievalSet, console: Console) -> tuple[Scores, dict[str, float]]:
    """Evaluate the model and BM25; return the model's metrics at every dimension and those of BM25."""
    from embsweep.evaluation.bm25 import measure_bm25
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.builders import build_model

    trial = config.trial
    with explain_gpu_errors("the evaluation"):
        model = build_model(trial.model)
        with _show_encoding(model, data, console):
            scores = evaluate_model(model, data, trial.eval_dims, batch_size=trial.eval.batch_size).scores
    with console.status("Ranking with BM25"):
        return scores, measure_bm25(data)[0]


@contextmanager
def _show_encoding(model: SentenceTransformer, data: RetrievalSet, console: Console) -> Iterator[None]:
    """Show on a terminal how many texts the model has encoded."""
    columns = (TextColumn("Encoding"), BarColumn(), MofNCompleteColumn(), TextColumn("texts"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        texts = progress.add_task("", total=len({*data.queries}) + len({*data.corpus}))
        hook = model.register_forward_hook(
            lambda _module, _given, output: progress.advance(texts, len(output["sentence_embedding"]))
        )
        try:
            yield
        finally:
            hook.remove()


def _choose_side(collection: Collection, config: Config, split: str) -> tuple[RetrievalSet, tuple[str, ...]]:
    """Return the queries to evaluate, and what of the source was merged or left out."""
    how, max_pairs = config.data.split, config.data.max_pairs
    if split == "all":
        return as_retrieval_set(collection, how.seed, max_pairs)
    splits = split_collection(collection, how, max_pairs)
    return (splits.validation if split == "validation" else splits.test), splits.notes


def _table(scores: Scores, bm25: dict[str, float]) -> Table:
    table = number_table("dim", *_SHOWN, texts=0)
    for dim in sorted(scores, reverse=True):
        table.add_row(str(dim), *(score(scores[dim][metric]) for metric in _SHOWN))
    table.add_row("BM25", *(score(bm25[metric]) for metric in _SHOWN), style="dim")
    return table
