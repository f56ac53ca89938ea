"""Find values in a ledger that contradict the scores in the same ledger: edited by hand, or by a defect.

Samplers, pruners, promotions and the choice of the winner read the values; the scores are what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import CodedError
from embsweep.search.pruners import fraction_to_step
from embsweep.search.read import explain_damage, read_studies
from embsweep.search.record import REPORT, STUDY, TrialRecord
from embsweep.search.storage import RESTORE
from embsweep.selection.objective import compute_objective, is_better, resolve_floors
from embsweep.selection.scores import scores_from_json
from embsweep.sweep.projection import run_ref

_TOLERANCE = 1e-9
_RANKED = ("complete", "stopped", "paused")
"""States in which a trial's values count. Those of an interrupted one are forgotten when it starts again; a promoted
trial that starts over replaces them one by one."""

_Values = Iterator[tuple[str, object, float | None]]
"""Key, stored value and the value that follows from the scores (None: there is no report to it)."""


def check_ledger(path: Path, objective: ObjectiveConfig) -> None:
    """Check every objective in a ledger against the scores in it, in all studies; a few milliseconds per trial.

    Values that a sampler sees carried to the end of the schedule are not stored, so they are not checked.

    Args:
        path: The ledger; without a baseline it has no trial to check.
        objective: The sweep's objective, whose floors may refer to the base model.

    Raises:
        CodedError: `contradiction`, with trial, key and both values; `unreadable`, if the ledger is damaged.
    """
    studies = read_studies(path)
    with explain_damage(path):
        baseline = studies[STUDY][0].get("baseline") if STUDY in studies else None
        if baseline is None:
            return
        profile = resolve_floors(objective, scores_from_json(baseline["scores"]))
        _require_equal(path, "the base model", _baseline_values(baseline, profile))
        for study, (_, records) in studies.items():
            for record in records:
                _require_equal(path, run_ref(study, record).name, _trial_values(record, profile))


def _require_equal(path: Path, where: str, values: _Values) -> None:
    for key, stored, computed in values:
        if computed is None or not isinstance(stored, int | float) or not abs(stored - computed) <= _TOLERANCE:
            reason = "but there is no report to it" if computed is None else f"but its scores give {computed}"
            raise CodedError(
                "contradiction",
                f"{path}: {where}: {key} is {stored}, {reason}. The ledger was changed after it was written. {RESTORE}",
            )


def _baseline_values(baseline: Mapping[str, Any], profile: ObjectiveConfig) -> _Values:
    yield "objective", baseline["objective"], compute_objective(scores_from_json(baseline["scores"]), profile)


def _trial_values(record: TrialRecord, profile: ObjectiveConfig) -> _Values:
    for step, report in record.all_reports.items():
        yield f"{REPORT}{step} objective", report.objective, compute_objective(report.scores, profile)
    if record.state not in _RANKED:
        return
    best: float | None = None
    best_at: dict[int, float] = {}
    for report in record.reports:
        if is_better(report.objective, best):
            best = report.objective
        yield f"{REPORT}{report.step} best_objective", report.best_objective, best
        best_at[fraction_to_step(report.fraction)] = report.best_objective
    for step, value in record.reached.items():
        yield f"value at {step / 10:g}% of the schedule", value, best_at.get(step)
    if record.state == "complete":
        yield "value", record.best, best
