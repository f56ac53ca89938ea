"""Evaluate the finalists on the test split, once, after the winner is chosen; count and report further evaluations.

Each holdout evaluation is recorded in a file of its own, with the file's hash in the ledger.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

from pydantic import Field, ValidationError

from embsweep.config.base import FrozenModel
from embsweep.core.errors import EmbsweepError
from embsweep.core.files import atomic_write
from embsweep.data.groups import label_groups
from embsweep.evaluation.evaluator import Evaluation
from embsweep.evaluation.quantization import StoredEvaluation, sample_passages
from embsweep.search.read import explain_damage, read_metadata
from embsweep.selection.evidence import (
    BASE,
    BM25,
    WINNER,
    EvaluationRecord,
    Interval,
    QuantizationRecord,
    VerificationRecord,
)
from embsweep.selection.quantization import vector_bytes
from embsweep.selection.scores import PerQuery
from embsweep.selection.statistics.significance import compute_intervals
from embsweep.sweep.context import SweepContext
from embsweep.sweep.folder import SweepFolder
from embsweep.training.verification import (
    QuantizationSpec,
    RecordedScores,
    VerificationSpec,
    hash_of_manifest,
    verify_and_evaluate,
)

_METADATA_KEY = "holdout_evaluations"
_METADATA_KEY_IN_FORMAT_1 = "looks"


class HoldoutEvaluation(FrozenModel):
    """One holdout evaluation. A model's key is the sha256 of its checkpoint's manifest, or `base` or `BM25`.

    `number` counts the sweep's own holdout evaluations, `earlier` those of other sweeps on the same data before.
    `choice` maps the name of each model to its key: to choose differently after an evaluation counts as another one.
    `quantization` has the winner's scores with quantised passages, by its key; files of earlier versions lack it.
    """

    number: int
    earlier: int = 0
    choice: dict[str, str] = Field(default_factory=dict)
    at: str
    evaluations: dict[str, EvaluationRecord] = Field(default_factory=dict)
    verifications: dict[str, VerificationRecord] = Field(default_factory=dict)
    quantization: dict[str, Annotated[tuple[QuantizationRecord, ...], Field(strict=False)]] = Field(
        default_factory=dict
    )

    @property
    def count(self) -> int:
        """Number of holdout evaluations of these data so far."""
        return self.earlier + self.number


def count_evaluations(metadata: Mapping[str, Any]) -> int:
    """Return the number of test evaluations that a ledger has recorded."""
    return len(metadata.get(_METADATA_KEY, ()))


def count_previous_evaluations(folder: SweepFolder, fingerprint: str, say: Callable[[str], None]) -> int:
    """Count the holdout evaluations that other sweeps of this storage, archived ones included, made on the same data.

    A ledger that cannot be read is reported and skipped: it must not stop another sweep.

    Args:
        folder: The folder of this sweep, whose own evaluations are not counted.
        fingerprint: The fingerprint of the data.
        say: Receives a message for each ledger that cannot be read.
    """
    count = 0
    for path in (folder.storage / "sweeps").glob("*/study.db"):
        try:
            metadata = read_metadata(path) if path != folder.ledger else {}
            with explain_damage(path):
                if metadata.get("identity", {}).get("data fingerprint") == fingerprint:
                    count += len(metadata.get(_METADATA_KEY, metadata.get(_METADATA_KEY_IN_FORMAT_1, [])))
        except EmbsweepError as error:
            say(f"Test evaluations of another sweep are not counted: {error}")
    return count


def _record(context: SweepContext, record: HoldoutEvaluation, models: Sequence[str]) -> None:
    """Record the test evaluation in the ledger before writing its scores to disk.

    In this order, no scores can exist without a ledger entry. If the process dies in between, the evaluation counts,
    without scores.

    Args:
        context: The sweep.
        record: The evaluation.
        models: Names of the models that were evaluated.
    """
    data = record.model_dump_json().encode()
    entry = {
        **{"number": record.number, "earlier": record.earlier, "at": record.at, "models": models},
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    context.ledger.set_metadata(**{_METADATA_KEY: [*context.ledger.metadata.get(_METADATA_KEY, []), entry]})
    atomic_write(context.folder.holdout_evaluation(record.number), data)


def _load(folder: SweepFolder, entry: Mapping[str, Any]) -> HoldoutEvaluation:
    """Return a recorded holdout evaluation; it still counts, without scores, if its file is missing or altered."""
    with suppress(OSError, ValidationError):
        data = folder.holdout_evaluation(entry["number"]).read_bytes()
        if hashlib.sha256(data).hexdigest() == entry["sha256"]:
            return HoldoutEvaluation.model_validate_json(data)
    return HoldoutEvaluation(number=entry["number"], earlier=entry.get("earlier", 0), at=entry["at"])


def evaluate_on_test(
    context: SweepContext, recorded: Sequence[RecordedScores], trials: Mapping[str, int]
) -> HoldoutEvaluation:
    """Verify the recorded scores of the finalists, then evaluate them, the base model and BM25 on the test split.

    A model that was evaluated before is not evaluated again, unless it has become the winner and its quantised
    embeddings were not evaluated.

    Args:
        context: The sweep.
        recorded: Name, weights and recorded validation scores of each finalist.
        trials: Number of the trial behind each name.

    Returns:
        The last holdout evaluation, with the scores of each name, of the base model and of BM25, the verification of
        each model and the winner's scores with quantised passages, by name.

    Raises:
        VerificationFailed: If weights do not reproduce their recorded scores. No test score is recorded then.
        EmbsweepError: If a file of the weights is missing, altered or not listed in their manifest.
    """
    recorded = [*recorded, RecordedScores(BASE, None, context.baseline.scores, device=context.baseline.device)]
    choice = {item.name: BASE if item.folder is None else hash_of_manifest(item.folder) for item in recorded}
    records = [_load(context.folder, entry) for entry in context.ledger.metadata.get(_METADATA_KEY, [])]
    known = {key for record in records for key in record.evaluations}
    new = [item for item in recorded if choice[item.name] not in known]
    if new or BM25 not in known or records[-1].choice != choice:
        quantized = {key for record in records for key in record.quantization}
        new = [item for item in recorded if item in new or (item.name == WINNER and choice[WINNER] not in quantized)]
        records.append(_evaluate_new_models(context, new, choice, number=len(records) + 1))
    evaluations = {key: result for record in records for key, result in record.evaluations.items()}
    verifications = {key: facts for record in records for key, facts in record.verifications.items()}
    quantization = {key: found for record in records for key, found in record.quantization.items()}
    named = {n: evaluations[key].model_copy(update={"trial": trials.get(n)}) for n, key in choice.items()}
    return records[-1].model_copy(
        update={
            "evaluations": {**named, BM25: evaluations[BM25]},
            "verifications": {name: verifications[key] for name, key in choice.items()},
            "quantization": {name: quantization[key] for name, key in choice.items() if key in quantization},
        }
    )


def _evaluate_new_models(
    context: SweepContext, recorded: Sequence[RecordedScores], choice: dict[str, str], *, number: int
) -> HoldoutEvaluation:
    """Evaluate the new models and record it; without any, record that a choice was made with the scores known."""
    earlier = count_previous_evaluations(context.folder, context.prepared.splits.fingerprint, context.progress.say)
    _report_progress(context, earlier + number, len(recorded))
    splits, trial = context.prepared.splits, context.recipe.trial
    passages = sample_passages([pair.positive for pair in splits.train])
    quantization = QuantizationSpec(WINNER, context.objective.metric, passages)
    sets = (splits.validation, splits.test)
    how = VerificationSpec(trial.model, *sets, trial.eval_dims, trial.eval.batch_size, quantization)
    call = context.prepared.runner.call
    results = verify_and_evaluate(recorded, how, call=call, models=context.models) if recorded else []
    found = {choice[item.name]: result for item, result in zip(recorded, results, strict=True)}
    evaluations = {**{key: result.test for key, result in found.items()}, BM25: _evaluate_bm25(context)}
    records = {key: _to_record(context, evaluation) for key, evaluation in evaluations.items()}
    record = HoldoutEvaluation(
        number=number,
        earlier=earlier,
        choice=choice,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        evaluations=records,
        verifications={key: result.verification for key, result in found.items()},
        quantization={
            key: _to_quantization(context, result.stored, records[key].intervals)
            for key, result in found.items()
            if result.stored
        },
    )
    _record(context, record, [item.name for item in recorded])
    return record


def _report_progress(context: SweepContext, number: int, models: int) -> None:
    first = f"Verifying {models} models from disk, then evaluating them and BM25 on the test split."
    again = (
        f"Test evaluation no. {number} ({models} model{'s' * (models != 1)} to evaluate). "
        "The test split has been used before, so its scores may be optimistic."
    )
    context.progress.say(first if number == 1 else again)


def _evaluate_bm25(context: SweepContext) -> Evaluation:
    """Evaluate BM25 on the test split. It has no dimensions: its scores are the same at each."""
    from embsweep.evaluation.bm25 import measure_bm25

    scores, per_query = measure_bm25(context.prepared.splits.test)
    dims = context.recipe.trial.eval_dims
    return Evaluation(dict.fromkeys(dims, scores), dict.fromkeys(dims, per_query))


def _to_record(context: SweepContext, evaluation: Evaluation) -> EvaluationRecord:
    values = evaluation.of_metric(context.objective.metric)
    return EvaluationRecord(
        scores=evaluation.scores,
        values={dim: tuple(array.tolist()) for dim, array in values.items()},
        ranks=tuple(evaluation.ranks.tolist()),
        intervals=_compute_intervals(context, values),
    )


def _to_quantization(
    context: SweepContext, stored: Sequence[StoredEvaluation], exact: Mapping[int, Interval]
) -> tuple[QuantizationRecord, ...]:
    """Convert the evaluations to records; float32 has the intervals of the evaluation without quantisation."""
    intervals = _compute_intervals(context, {row: item.values for row, item in enumerate(stored)})
    return tuple(
        QuantizationRecord(
            dim=item.dim,
            precision=item.precision,
            rescored=item.rescored,
            bytes=vector_bytes(item.dim, item.precision),
            score=exact[item.dim] if item.precision == "float32" else intervals[row],
            search_ms=item.search_ms,
        )
        for row, item in enumerate(stored)
    )


def _compute_intervals(context: SweepContext, values: PerQuery) -> dict[int, Interval]:
    groups = label_groups(context.prepared.splits.test.relevant)
    return compute_intervals(values, groups, seed=context.recipe.search.seed)
