"""What mattered in a search: the share of each parameter in the objective and in each dimension's metric.

Few trials finish their schedules, so that values carried to the end count, as a sampler sees them.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, create_trial

from embsweep.search.attribution import TargetImportance, attribute
from embsweep.search.fidelity import Curve
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import fraction_to_step
from embsweep.search.read import explain_damage
from embsweep.search.record import IMPORTANCE, METADATA, RUNGS, STUDY, TrialRecord, require_format, to_record
from embsweep.search.samplers import carry_values
from embsweep.search.storage import open_read_only

log = logging.getLogger(__name__)

OBJECTIVE = "objective"
"""Name of the objective among the targets; the others are metrics at a dimension, `map@100/256`."""

_COUNTED = ("complete", "stopped", "paused")


@dataclass(frozen=True)
class Importance:
    """What mattered for each target, the objective first; `params` are the searched keys in their order."""

    params: tuple[str, ...]
    targets: Mapping[str, TargetImportance]

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {name: dataclasses.asdict(target) for name, target in self.targets.items()}


def read_importance(path: Path) -> Importance:
    """Compute what mattered from a ledger; nothing can be said without a ledger, or with an empty one.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the ledger cannot be read.
    """
    if not path.is_file() or not path.stat().st_size:
        return compute_importance((), None)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with explain_damage(path), open_read_only(path) as storage:
        if STUDY not in optuna.get_all_study_names(storage):
            return compute_importance((), None)
        study = optuna.load_study(storage=storage, study_name=STUDY)
        metadata = study.user_attrs.get(METADATA, {})
        require_format(STUDY, metadata)
        metric = metadata.get("identity", {}).get("objective.metric")
        return compute_importance(study.get_trials(deepcopy=False), metric, metadata.get(RUNGS))


def record_importance(ledger: Ledger, path: Path) -> None:
    """Write to a search's ledger what mattered, for MLflow, if anything was searched.

    Args:
        ledger: The ledger.
        path: Its file.
    """
    try:
        importance = read_importance(path)
    except Exception:  # no sweep should fail because of a table that can be computed at any time
        log.exception("what mattered was not computed")
        return
    if importance.params:
        ledger.set_metadata(**{IMPORTANCE: importance.to_json()})


def compute_importance(
    trials: Sequence[FrozenTrial], metric: str | None, rungs: Sequence[int] | None = None
) -> Importance:
    """Compute what mattered for the objective and for a metric at each dimension.

    Complete, stopped and paused trials with a report count, at their values carried to the end; failed and running
    ones do not, though a sampler learns the gains from rung to rung from these, too. A parameter is inactive in a trial
    whose group options do not use it.

    Args:
        trials: Every trial of a search, by number.
        metric: The metric; None: the objective only.
        rungs: Steps at which trials are compared, by default all at which one has reported.
    """
    records = [to_record(trial) for trial in trials]
    steps = rungs or sorted({step for trial in trials for step in trial.intermediate_values})
    params = tuple(dict.fromkeys(key for record in records for key in record.params))
    targets = {}
    for name, curves in _curves(records, metric):
        values = carry_values(trials, curves, steps)
        counted = [i for i, r in enumerate(records) if r.state in _COUNTED and math.isfinite(values[i])]
        targets[name] = attribute([_without_inactive(trials[i], records[i]) for i in counted], values[counted])
    return Importance(params, targets)


def _curves(records: Sequence[TrialRecord], metric: str | None) -> Iterator[tuple[str, list[Curve]]]:
    """Yield the name of each target with the running best of every trial."""
    yield OBJECTIVE, [record.reached for record in records]
    if metric is not None:
        for dim in sorted({dim for record in records for dim in record.scores}, reverse=True):
            yield f"{metric}/{dim}", [_running_best(record, dim, metric) for record in records]


def _running_best(record: TrialRecord, dim: int, metric: str) -> Curve:
    """Return the best score of a trial up to each step at which it has reported one."""
    scores = {fraction_to_step(r.fraction): r.scores[dim][metric] for r in record.reports if dim in r.scores}
    return dict(zip(scores, accumulate(scores.values(), max), strict=True))


def _without_inactive(trial: FrozenTrial, record: TrialRecord) -> FrozenTrial:
    """Return a copy of a trial with the parameters that it uses."""
    active = record.active_params
    distributions = {key: value for key, value in trial.distributions.items() if key in active}
    return create_trial(params=dict(active), distributions=distributions, value=0.0)
