"""The test split is read once, after the choice; a second look says that it is one.

Readings of the test split on record: one file a look, its hash in the ledger.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from embsweep.config.base import FrozenModel
from embsweep.core.errors import EmbsweepError
from embsweep.core.files import atomic_write
from embsweep.data.groups import label_groups
from embsweep.evaluation.evaluator import Evaluation
from embsweep.runners.select import select_call
from embsweep.search.ledger import Ledger, read_ledger
from embsweep.selection.evidence import BASE, BM25, EvaluationRecord, VerificationRecord
from embsweep.selection.statistics.significance import compute_intervals
from embsweep.sweep.context import SweepContext
from embsweep.sweep.folder import SweepFolder
from embsweep.training import verification
from embsweep.training.verification import RecordedScores, VerificationSpec, hash_of_manifest, verify_and_evaluate

_NOTE = "holdout_evaluations"


class HoldoutEvaluation(FrozenModel):
    """One look at the test split. Keys are the models: sha256 of a checkpoint's manifest, or `base` and `BM25`.

    `number` counts the sweep's own looks, `earlier` those that other sweeps had taken at the same data before.
    `choice` says which model had which name: another choice after a look is another look.
    """

    number: int
    earlier: int = 0
    choice: dict[str, str] = Field(default_factory=dict)
    at: str
    readings: dict[str, EvaluationRecord]
    proofs: Annotated[dict[str, VerificationRecord], Field(strict=False)]


def count_previous_evaluations(folder: SweepFolder, fingerprint: str, say: Callable[[str], None]) -> int:
    """Looks at the same data on record in the other sweeps of this storage, those moved aside among them.

    A ledger that cannot be read is said and left out: it must not stop another sweep.
    """
    count = 0
    for path in (folder.storage / "sweeps").glob("*/study.db"):
        try:
            found = read_ledger(path) if path != folder.ledger else None
        except EmbsweepError as error:
            say(f"Looks at the test split that another sweep has taken are not counted: {error}")
            continue
        if found and found[0].get("identity", {}).get("data fingerprint") == fingerprint:
            count += len(found[0].get(_NOTE, []))
    return count


def load_holdout_evaluations(ledger: Ledger, folder: SweepFolder) -> list[HoldoutEvaluation]:
    """The looks on record, oldest first; one whose file is gone or altered still counts, but tells nothing."""
    records = []
    for noted in ledger.metadata.get(_NOTE, []):
        empty = HoldoutEvaluation(
            number=noted["number"], earlier=noted.get("earlier", 0), at=noted["at"], readings={}, proofs={}
        )
        records.append(_load(folder.holdout_evaluation(noted["number"]), noted["sha256"]) or empty)
    return records


def record_holdout_evaluation(
    ledger: Ledger, folder: SweepFolder, record: HoldoutEvaluation, models: Sequence[str]
) -> None:
    """Note in the ledger that `models` were read, then write what was found: no number lies about without a note."""
    data = record.model_dump_json().encode()
    noted = {"number": record.number, "earlier": record.earlier, "at": record.at, "models": list(models)}
    digest = hashlib.sha256(data).hexdigest()
    ledger.set_metadata(**{_NOTE: [*ledger.metadata.get(_NOTE, []), {**noted, "sha256": digest}]})
    atomic_write(folder.holdout_evaluation(record.number), data)


def _load(path: Path, sha256: str) -> HoldoutEvaluation | None:
    try:
        data = path.read_bytes()
        return HoldoutEvaluation.model_validate_json(data) if hashlib.sha256(data).hexdigest() == sha256 else None
    except (OSError, ValidationError):
        return None


@dataclass(frozen=True)
class HoldoutResult:
    """What is known of each named model on the test split, and how many looks that took."""

    __test__ = False  # pytest takes the name for a test

    holdout_evaluations: int
    at: str
    readings: Mapping[str, EvaluationRecord]
    proofs: Mapping[str, VerificationRecord]


def evaluate_on_test(
    context: SweepContext, claims: Sequence[RecordedScores], trials: Mapping[str, int]
) -> HoldoutResult:
    """Prove `claims` and read the test split for them, for the base model and BM25.

    A model that was read before is not read again. VerificationFailed where weights are not what was recorded of them:
    nothing of the test split is known then. `trials` gives the trial behind each name.
    """
    claims = [*claims, RecordedScores(BASE, None, context.baseline.scores)]
    records = load_holdout_evaluations(context.ledger, context.folder)
    known = {key for record in records for key in record.readings}
    new = [claim for claim in claims if _key(claim) not in known]
    choice = {claim.name: _key(claim) for claim in claims}
    if new or BM25 not in known or records[-1].choice != choice:
        records.append(_evaluate_new_models(context, new, choice, number=len(records) + 1))
    readings = {key: reading for record in records for key, reading in record.readings.items()}
    proofs = {key: facts for record in records for key, facts in record.proofs.items()}
    named = {claim.name: readings[_key(claim)].model_copy(update={"trial": trials.get(claim.name)}) for claim in claims}
    return HoldoutResult(
        holdout_evaluations=records[-1].earlier + records[-1].number,
        at=records[-1].at,
        readings={**named, BM25: readings[BM25]},
        proofs={claim.name: proofs[_key(claim)] for claim in claims},
    )


def _evaluate_new_models(
    context: SweepContext, claims: Sequence[RecordedScores], choice: dict[str, str], *, number: int
) -> HoldoutEvaluation:
    """Read what is new, and put on record that it was read, or that a choice was made with the readings known."""
    earlier = count_previous_evaluations(context.folder, context.prepared.splits.fingerprint, context.progress.say)
    _report_progress(context, earlier + number, len(claims))
    splits, trial = context.prepared.splits, context.recipe.trial
    how = VerificationSpec(trial.model, splits.validation, splits.test, trial.eval_dims, trial.eval.batch_size)
    call = select_call(context.recipe, context.prepared.slots)
    read = verify_and_evaluate(claims, how, call=call, models=context.assets.models) if claims else []
    found = {_key(claim): reading for claim, reading in zip(claims, read, strict=True)}
    evaluations = {**{key: reading.test for key, reading in found.items()}, BM25: _measure_bm25(context)}
    record = HoldoutEvaluation(
        number=number,
        earlier=earlier,
        choice=choice,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        readings={key: _to_reading(context, evaluation) for key, evaluation in evaluations.items()},
        proofs={key: _to_proof(reading) for key, reading in found.items()},
    )
    record_holdout_evaluation(context.ledger, context.folder, record, [claim.name for claim in claims])
    return record


def _report_progress(context: SweepContext, number: int, models: int) -> None:
    if number == 1:
        context.progress.say(f"Proving {models} models from disk and reading the test split, once, for them and BM25.")
    else:
        context.progress.say(
            f"Look {number} at the test split, {models} models newly read: it was read before, so that its numbers "
            "are no longer untouched by what was decided since."
        )


def _key(claim: RecordedScores) -> str:
    return BASE if claim.folder is None else hash_of_manifest(claim.folder)


def _measure_bm25(context: SweepContext) -> Evaluation:
    """BM25 has no dimensions: it stands at every one alike."""
    from embsweep.evaluation.bm25 import measure_bm25

    scores, per_query = measure_bm25(context.prepared.splits.test)
    dims = context.recipe.trial.eval_dims
    return Evaluation(dict.fromkeys(dims, scores), dict.fromkeys(dims, per_query))


def _to_reading(context: SweepContext, evaluation: Evaluation) -> EvaluationRecord:
    values = evaluation.of_metric(context.objective.metric)
    groups = label_groups(context.prepared.splits.test.relevant)
    return EvaluationRecord(
        scores={dim: dict(by_metric) for dim, by_metric in evaluation.scores.items()},
        values={dim: tuple(array.tolist()) for dim, array in values.items()},
        intervals=compute_intervals(values, groups, seed=context.recipe.search.seed),
    )


def _to_proof(reading: verification.VerifiedEvaluation) -> VerificationRecord:
    return VerificationRecord(
        manifest_sha256=reading.manifest_sha256,
        device=reading.device,
        difference=reading.difference,
        tolerance=reading.tolerance,
        pid=reading.pid,
    )
