"""Context that the steps of a running sweep share, and how it runs the trials of a phase."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from embsweep.config import Config
from embsweep.config.search_space import Value
from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import EmbsweepError
from embsweep.models.copies import ModelCopy
from embsweep.reports.progress import Progress
from embsweep.runners.resources import count_trials_per_gpu
from embsweep.search.ledger import Ledger
from embsweep.search.record import TrialRecord
from embsweep.search.search import SearchLedger
from embsweep.sweep.base_model import Baseline
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import build_view, project_trial, run_ref
from embsweep.sweep.request import SweepRequest
from embsweep.sweep.scheduler import Listener, Phase, SweepScheduler
from embsweep.tracking.sync import MlflowSync
from embsweep.training.checkpoint import check_checkpoint
from embsweep.training.trial import TrialData, run_trial


@dataclass(frozen=True)
class SweepContext:
    """A running sweep. `ledger` is that of the search, `baseline` holds the untrained model's validation scores.

    `models` are the copies of base models from which the trials of a cluster load them, else empty.
    """

    request: SweepRequest
    prepared: PreflightResult
    folder: SweepFolder
    ledger: SearchLedger
    tracking: MlflowSync
    progress: Progress
    baseline: Baseline
    models: tuple[ModelCopy, ...] = ()

    @property
    def recipe(self) -> Config:
        """The scaled configuration, without any value of the space."""
        return self.prepared.recipe

    @property
    def objective(self) -> ObjectiveConfig:
        """The objective of every run, with the base model's scores substituted for floors that refer to them."""
        return self.baseline.profile

    @property
    def has_recipe(self) -> bool:
        """True if trial 0 is the recipe: it is not if one of the recipe's values is outside the space."""
        return self.recipe.search.recipe_first and self.request.has_whole_recipe

    def configure(self, params: Mapping[str, Value]) -> Config:
        """Return the scaled configuration of one point of the space.

        Raises:
            InputError: If the point is not a valid configuration.
        """
        return self.prepared.scale.apply(self.request.configure(params)).model_copy(
            update={"objective": self.objective}
        )


QUARANTINE = "best.corrupt"
"""Folder of a run in which its corrupt weights are kept for inspection."""


def run_phase(
    context: SweepContext,
    ledger: Ledger,
    phase: Phase,
    configure: Callable[[TrialRecord], Config],
    data: TrialData,
    notes: Mapping[str, Any] | None = None,
) -> SweepScheduler:
    """Run the remaining trials of a phase, then quarantine corrupt weights before any decision depends on them.

    The arguments of the function that runs a trial are the same for all: a runner transfers them to other processes
    once, not per trial.

    Args:
        context: The sweep.
        ledger: The ledger of the phase.
        phase: The phase.
        configure: Returns the configuration of a ledger record, see `SweepScheduler`.
        data: Data of the trials.
        notes: Metadata of the phase for the screen, by default that of `ledger`.

    Returns:
        The scheduler that has run the trials.
    """
    listener = tell_events(context.progress, context.tracking, context.ledger, ledger, notes)
    scheduler = SweepScheduler(ledger, configure, phase, (listener,), warn=context.progress.say)
    scheduler.delete_checkpoints()
    slots = context.prepared.slots
    trial_fn = partial(
        run_trial,
        data=data,
        models=context.models,
        memory_share=1 / count_trials_per_gpu(slots),
        needs_gpu=slots.gpus > 0,
    )
    context.prepared.runner.run(scheduler, trial_fn)
    if not scheduler.has_too_many_failures:
        scheduler.close_paused()
    quarantine_corrupt(ledger, phase, context.progress)
    return scheduler


def tell_events(
    progress: Progress, tracking: MlflowSync, search: Ledger, ledger: Ledger, notes: Mapping[str, Any] | None = None
) -> Listener:
    """Return a listener that shows each change and the table of all runs, and passes the state of the run to MLflow.

    Args:
        progress: The display.
        tracking: Writes the states.
        search: The ledger of the search, with the sweep's metadata.
        ledger: The ledger of the phase.
        notes: Metadata of the phase for the display, by default that of `ledger`.
    """

    def tell(record: TrialRecord, event: str) -> None:
        view = build_view(dict(ledger.metadata if notes is None else notes), ledger.trials)
        progress.update(view, f"{run_ref(ledger.study, record).name} {event}" if event else "")
        tracking.put(project_trial(search.metadata, ledger.study, record))

    return tell


def quarantine_corrupt(ledger: Ledger, phase: Phase, progress: Progress) -> None:
    """Compare the weights of finished runs with their manifests; quarantine and report those that differ.

    A run without weights cannot win, so the next best configuration takes its place. Weights whose manifest was
    rewritten too are not found here, but by the verification of the finalists.

    Args:
        ledger: The ledger of the phase.
        phase: The phase, with the folders of its runs.
        progress: Reports each quarantined checkpoint.
    """
    for record in ledger.trials:
        weights = phase.trial_dir(record.number) / "best"
        if not record.is_finished or not weights.is_dir():
            continue
        try:
            check_checkpoint(weights)
        except EmbsweepError as error:
            quarantine = weights.with_name(QUARANTINE)
            shutil.rmtree(quarantine, ignore_errors=True)
            weights.rename(quarantine)
            name = run_ref(phase.study, record).name
            progress.say(f"{name} cannot win: {error}. Its weights were moved to {quarantine}")
