"""Format of a ledger, and the records of its trials as values.

The records contain everything that MLflow, the screen and the card show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from embsweep.config.search_space import Value
from embsweep.core.errors import SweepRefused
from embsweep.search.pruners import STEPS_PER_SCHEDULE, fraction_to_step
from embsweep.selection.scores import Scores
from embsweep.training.messages import REPORTS, TrialReport

STUDY = "sweep"
"""Name of the search's study in the database."""

METADATA = "embsweep"
"""User attribute of a study that holds the sweep's metadata."""

FORMAT_KEY = "ledger_format"

LEDGER_FORMAT = 4
"""Raised with each change of the metadata's or the trials' keys. Ledgers of format 1 do not record the number."""

ATTEMPT = "attempt"
"""Attribute: number of starts of the trial."""

PROCESS_LOSSES = "process_losses"
"""Attribute: number of times that the trial's process died while the driver was alive."""

STOP_AT = "stop_at"
"""Attribute: the step at which the pruner stopped the trial."""

REPORT = "report/"
"""Prefix of the attributes that hold a run's reports, one per step: `report/120`."""

CONFIG = "config"
"""Attribute of a run: its whole configuration, as plain JSON; absent if its parameters are not valid together."""

FACTS = "facts/"
"""Prefix of the attributes that hold facts of each start other than scores (device, setup times): `facts/1`.

A trial starts in each attempt, and again in the same attempt when it is promoted."""

MINI_BATCH_SIZE = "mini_batch_size"
"""Attribute, and fact of a trial: pairs of a mini-batch of its last attempt, or of the next one after it ran out of
memory; absent if the loss has no mini-batches."""

OOM_RETRY = "oom_retry"
"""Attribute, and fact of a trial: the mini-batch sizes with which it ran out of memory, and the one after them."""

REDRAWN = "redrawn"
"""Attribute of a trial whose point was not drawn at once: how many points before it were `impossible` or `repeated` an
earlier trial's configuration, and the impossible `points` that its sampler drew."""

PROMOTION = "promotion"
"""Attribute of a trial that may pause: the step until which it may run, whether it has paused there, and whether it had
paused before."""

IMPORTANCE = "importance"
"""Metadata of a search that has ended: what mattered; absent if nothing was searched, and in older ledgers."""

HAS_RECIPE = "has_recipe"
"""Metadata: whether trial 0 is the recipe; absent in older ledgers."""

RUNGS = "rungs"
"""Metadata of a search whose trials pause: the steps of its rungs, which stay when the sweep is extended."""

State = Literal["running", "paused", "complete", "stopped", "failed"]
"""A paused trial has reached its rung and may go on; Optuna, which has no such state, has it as running."""

_STATES: Mapping[TrialState, State] = {
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "stopped",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class TrialRecord:
    """The ledger's data of one trial.

    `best` is its best objective so far, None before the first evaluation; `fraction` is the largest reported fraction
    of the schedule; `attributes` are set by the sweep (reports, checkpoint, pid, times, reason). `reached` maps the
    steps of the pruner at which the last attempt has reported to the best objective up to there. `created_at` is in
    seconds since the epoch.
    """

    number: int
    state: State
    params: Mapping[str, Value]
    best: float | None
    fraction: float
    attributes: Mapping[str, Any]
    reached: Mapping[int, float] = field(default_factory=dict)
    created_at: float = 0.0

    @property
    def active_params(self) -> Mapping[str, Value]:
        """Its parameters without those that its group options do not use, which are null in its configuration."""
        config = self.attributes.get(CONFIG, {})
        return {key: value for key, value in self.params.items() if value == "null" or not _is_null(config, key)}

    @property
    def attempt(self) -> int:
        """Number of starts of the trial."""
        return int(self.attributes.get(ATTEMPT, 0))

    @property
    def losses(self) -> int:
        """Number of times that its process died while the driver was alive."""
        return int(self.attributes.get(PROCESS_LOSSES, 0))

    @property
    def facts(self) -> Mapping[str, Any]:
        """Facts of the last start's training other than scores, by name."""
        facts = self.all_facts
        return facts[max(facts)] if facts else {}

    @property
    def all_facts(self) -> Mapping[int, Mapping[str, Any]]:
        """Facts of each start, by its number from 1, with its time (`started_at`, in seconds since the epoch)."""
        found = {name: value for name, value in self.attributes.items() if name.startswith(FACTS)}
        return dict(sorted((int(name.removeprefix(FACTS)), value) for name, value in found.items()))

    @property
    def device(self) -> str:
        """Device of the scores (`cpu`, `cuda:0`, …): a GPU if any start ran on one, since earlier scores are kept."""
        found = [str(facts["device"]) for facts in self.all_facts.values() if "device" in facts]
        return next((device for device in found if device != "cpu"), "cpu")

    @property
    def is_finished(self) -> bool:
        """True if the trial has ended, so that nothing will be added to it."""
        return self.state not in ("running", "paused")

    @property
    def runs_until(self) -> float:
        """Fraction of the schedule at which it pauses or has paused, 1.0 if it runs to its end."""
        step: int = self.attributes.get(PROMOTION, {}).get("until", STEPS_PER_SCHEDULE)
        return step / STEPS_PER_SCHEDULE

    @property
    def is_promoted(self) -> bool:
        """True if it runs on after a pause."""
        return self.state == "running" and bool(self.attributes.get(PROMOTION, {}).get("promoted"))

    @cached_property
    def all_reports(self) -> Mapping[int, TrialReport]:
        """The last report of each step, in order of the steps, also those of earlier attempts that were not resumed."""
        rows = tuple(value for name, value in self.attributes.items() if name.startswith(REPORT))
        return {report.step: report for report in sorted(REPORTS.validate_python(rows), key=lambda report: report.step)}

    @property
    def reports(self) -> tuple[TrialReport, ...]:
        """The reports of the last attempt and those that it resumed from, in order."""
        return tuple(r for r in self.all_reports.values() if fraction_to_step(r.fraction) in self.reached)

    @property
    def saved(self) -> TrialReport | None:
        """The report of the best evaluation, whose weights are saved; None before the first one."""
        reports = self.reports
        return next((report for report in reports if report.fraction == reports[-1].best_fraction), None)

    @property
    def scores(self) -> Scores:
        """Every metric at every dimension on the validation split, of the saved weights; empty if there are none."""
        return {} if self.saved is None else self.saved.scores


def _is_null(config: Mapping[str, Any], key: str) -> bool:
    """Return whether a dotted key is in a configuration, and null there."""
    *sections, name = key.split(".")
    for section in sections:
        config = config.get(section) or {}
    return name in config and config[name] is None


def to_state(trial: FrozenTrial) -> State:
    """Return the state of an Optuna trial."""
    is_paused = trial.state == TrialState.RUNNING and trial.user_attrs.get(PROMOTION, {}).get("paused", False)
    return "paused" if is_paused else _STATES[trial.state]


def to_record(trial: FrozenTrial) -> TrialRecord:
    """Return the record of an Optuna trial."""
    reported = trial.intermediate_values
    best = trial.value if trial.state == TrialState.COMPLETE else max(reported.values(), default=None)
    return TrialRecord(
        number=trial.number,
        state=to_state(trial),
        params=dict(trial.params),
        best=best if best is not None and math.isfinite(best) else None,
        fraction=max(reported, default=0) / STEPS_PER_SCHEDULE,
        attributes=dict(trial.user_attrs),
        reached=dict(reported),
        created_at=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
    )


def require_format(study: str, metadata: Mapping[str, Any]) -> None:
    """Check that this code can read and continue a study.

    Args:
        study: Name of the study.
        metadata: Its metadata.

    Raises:
        SweepRefused: If the study has another format.
    """
    found = metadata.get(FORMAT_KEY, 1 if metadata else LEDGER_FORMAT)
    if found != LEDGER_FORMAT:
        raise SweepRefused(
            "other-format",
            f"the ledger of sweep '{metadata.get('name', study)}' has format {found}; this "
            f"version of embsweep reads format {LEDGER_FORMAT}. Finish the sweep with the version that "
            "began it, take another name (sweep.name=…), or archive it and start over (sweep.fresh=true).",
        )
