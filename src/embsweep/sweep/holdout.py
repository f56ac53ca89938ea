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

from embsweep.config.base import Part
from embsweep.core.errors import EmbsweepError
from embsweep.core.files import write_whole
from embsweep.data.groups import label_groups
from embsweep.evaluation.evaluator import Evaluation
from embsweep.runners.select import choose_call
from embsweep.search.ledger import Ledger, read_ledger
from embsweep.selection.evidence import BASE, BM25, ProofFacts, Reading
from embsweep.selection.statistics.significance import compute_intervals
from embsweep.sweep.context import SweepContext
from embsweep.sweep.folder import SweepFolder
from embsweep.training import verification
from embsweep.training.verification import Claim, Measurement, hash_of_manifest, prove_and_read

_NOTE = "looks"


class Look(Part):
    """One look at the test split. Keys are the models: sha256 of a checkpoint's manifest, or `base` and `BM25`.

    `number` counts the sweep's own looks, `earlier` those that other sweeps had taken at the same data before.
    `choice` says which model had which name: another choice after a look is another look.
    """

    number: int
    earlier: int = 0
    choice: dict[str, str] = Field(default_factory=dict)
    at: str
    readings: dict[str, Reading]
    proofs: Annotated[dict[str, ProofFacts], Field(strict=False)]


def count_other_looks(folder: SweepFolder, fingerprint: str, say: Callable[[str], None]) -> int:
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


def load_looks(ledger: Ledger, folder: SweepFolder) -> list[Look]:
    """The looks on record, oldest first; one whose file is gone or altered still counts, but tells nothing."""
    looks = []
    for noted in ledger.notes.get(_NOTE, []):
        empty = Look(number=noted["number"], earlier=noted.get("earlier", 0), at=noted["at"], readings={}, proofs={})
        looks.append(_load(folder.look(noted["number"]), noted["sha256"]) or empty)
    return looks


def record_look(ledger: Ledger, folder: SweepFolder, look: Look, models: Sequence[str]) -> None:
    """Note in the ledger that `models` were read, then write what was found: no number lies about without a note."""
    data = look.model_dump_json().encode()
    noted = {"number": look.number, "earlier": look.earlier, "at": look.at, "models": list(models)}
    digest = hashlib.sha256(data).hexdigest()
    ledger.note(**{_NOTE: [*ledger.notes.get(_NOTE, []), {**noted, "sha256": digest}]})
    write_whole(folder.look(look.number), data)


def _load(path: Path, sha256: str) -> Look | None:
    try:
        data = path.read_bytes()
        return Look.model_validate_json(data) if hashlib.sha256(data).hexdigest() == sha256 else None
    except (OSError, ValidationError):
        return None


@dataclass(frozen=True)
class TestResult:
    """What is known of each named model on the test split, and how many looks that took."""

    __test__ = False  # pytest takes the name for a test

    look: int
    at: str
    readings: Mapping[str, Reading]
    proofs: Mapping[str, ProofFacts]


def read_test(context: SweepContext, claims: Sequence[Claim], trials: Mapping[str, int]) -> TestResult:
    """Prove `claims` and read the test split for them, for the base model and BM25.

    A model that was read before is not read again. ProofFailed where weights are not what was recorded of them:
    nothing of the test split is known then. `trials` gives the trial behind each name.
    """
    claims = [*claims, Claim(BASE, None, context.baseline.scores)]
    looks = load_looks(context.ledger, context.folder)
    known = {key for look in looks for key in look.readings}
    new = [claim for claim in claims if _key(claim) not in known]
    choice = {claim.name: _key(claim) for claim in claims}
    if new or BM25 not in known or looks[-1].choice != choice:
        looks.append(_look_again(context, new, choice, number=len(looks) + 1))
    readings = {key: reading for look in looks for key, reading in look.readings.items()}
    proofs = {key: facts for look in looks for key, facts in look.proofs.items()}
    named = {claim.name: readings[_key(claim)].model_copy(update={"trial": trials.get(claim.name)}) for claim in claims}
    return TestResult(
        look=looks[-1].earlier + looks[-1].number,
        at=looks[-1].at,
        readings={**named, BM25: readings[BM25]},
        proofs={claim.name: proofs[_key(claim)] for claim in claims},
    )


def _look_again(context: SweepContext, claims: Sequence[Claim], choice: dict[str, str], *, number: int) -> Look:
    """Read what is new, and put on record that it was read, or that a choice was made with the readings known."""
    earlier = count_other_looks(context.folder, context.prepared.splits.fingerprint, context.progress.say)
    _announce(context, earlier + number, len(claims))
    splits, trial = context.prepared.splits, context.recipe.trial
    how = Measurement(trial.model, splits.validation, splits.test, trial.eval_dims, trial.eval.batch_size)
    call = choose_call(context.recipe, context.prepared.slots)
    read = prove_and_read(claims, how, call=call, models=context.supplies.models) if claims else []
    found = {_key(claim): reading for claim, reading in zip(claims, read, strict=True)}
    evaluations = {**{key: reading.test for key, reading in found.items()}, BM25: _measure_bm25(context)}
    look = Look(
        number=number,
        earlier=earlier,
        choice=choice,
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        readings={key: _to_reading(context, evaluation) for key, evaluation in evaluations.items()},
        proofs={key: _to_proof(reading) for key, reading in found.items()},
    )
    record_look(context.ledger, context.folder, look, [claim.name for claim in claims])
    return look


def _announce(context: SweepContext, number: int, models: int) -> None:
    if number == 1:
        context.progress.say(f"Proving {models} models from disk and reading the test split, once, for them and BM25.")
    else:
        context.progress.say(
            f"Look {number} at the test split, {models} models newly read: it was read before, so that its numbers "
            "are no longer untouched by what was decided since."
        )


def _key(claim: Claim) -> str:
    return BASE if claim.folder is None else hash_of_manifest(claim.folder)


def _measure_bm25(context: SweepContext) -> Evaluation:
    """BM25 has no dimensions: it stands at every one alike."""
    from embsweep.evaluation.bm25 import measure_bm25

    scores, per_query = measure_bm25(context.prepared.splits.test)
    dims = context.recipe.trial.eval_dims
    return Evaluation(dict.fromkeys(dims, scores), dict.fromkeys(dims, per_query))


def _to_reading(context: SweepContext, evaluation: Evaluation) -> Reading:
    values = evaluation.of_metric(context.objective.metric)
    groups = label_groups(context.prepared.splits.test.relevant)
    return Reading(
        scores={dim: dict(by_metric) for dim, by_metric in evaluation.scores.items()},
        values={dim: tuple(array.tolist()) for dim, array in values.items()},
        intervals=compute_intervals(values, groups, seed=context.recipe.search.seed),
    )


def _to_proof(reading: verification.Reading) -> ProofFacts:
    return ProofFacts(
        manifest_sha256=reading.manifest_sha256,
        device=reading.device,
        difference=reading.difference,
        tolerance=reading.tolerance,
        pid=reading.pid,
    )
