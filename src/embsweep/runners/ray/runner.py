"""Run trials with Ray Tune, which only places them; the scheduler decides what to run and stop, and keeps the records.

Function trainables with reused actors keep one warm process per slot: the first trial of a process pays for the
imports, the next ones start at once. A sweep is never resumed from Tune's own snapshots, so that its searcher has no
state to save.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from embsweep.core.environment import set_default_environment
from embsweep.core.errors import CodedError
from embsweep.runners.attempt import run_attempt
from embsweep.runners.base import TrialFn, TrialScheduler
from embsweep.runners.cluster.auth import enable_token_auth, restrict_token_permissions
from embsweep.runners.ray.capacity import CAPACITY_TIMEOUT_S, watch_capacity
from embsweep.runners.ray.environment import WORKER_ENVIRONMENT, pin_threads, thread_variables
from embsweep.runners.ray.object_store import put_trial_fn
from embsweep.runners.ray.remote_call import run_remote
from embsweep.runners.ray.tune_adapter import ExceptionCapturingScheduler, StopOnSchedulerError
from embsweep.runners.ray.workarounds import (
    bind_to_loopback,
    detect_interrupt,
    log_daemon_messages,
    preserve_sigterm_handler,
)
from embsweep.runners.resources import Slots, WorkerPlacement
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted, from_text, to_text

_MESSAGE = "message"
_WORKER_LOST = "loss of the process"
_PROCESS_DIED = "its process died (killed, out of memory, crashed, or its machine is gone)"
_DRIVER_BYTES = 2**20
_OBJECT_STORE_BYTES = 256 * 2**20  # one copy of the texts; Ray would take 30 % of the machine's memory


class RayRunner:
    """Runs `slots.count` trials at once in Ray's processes: on this machine, or on the cluster joined before.

    Args:
        slots: Number of concurrent trials and the resources of each.
        scratch: Folder for Tune's own files; deleted at the end of `run`.
        has_other_machines: Whether trials may run on other machines, to which the base models' files must be sent.
        patience_s: Longest time without capacity for a single trial, in seconds.
    """

    def __init__(
        self, slots: Slots, scratch: Path, *, has_other_machines: bool = False, patience_s: float = CAPACITY_TIMEOUT_S
    ) -> None:
        self._slots = slots
        self._patience_s = patience_s
        self._has_other_machines = has_other_machines
        self._scratch = scratch.resolve()

    def run(self, scheduler: TrialScheduler, trial_fn: TrialFn) -> None:
        """Run trials until `suggest` returns None and none is open; see `Runner.run`.

        Args:
            scheduler: Suggests the trials and records their reports, in the calling thread.
            trial_fn: The function that runs one trial.

        Raises:
            Exception: If a method of `scheduler` raises it; open trials stay open in the ledger.
            CodedError: If no trial has fitted on the cluster for `patience_s` seconds (`not-enough-room`).
            KeyboardInterrupt: If Tune was stopped before the scheduler ran out of trials.
        """
        first = scheduler.suggest()
        if first is None:
            return  # Tune would wait for a first trial without limit
        self._init_ray()
        guarded = ExceptionCapturingScheduler(scheduler)
        searcher = _TuneSearcher(guarded, first)
        shipped = put_trial_fn(trial_fn, to_other_machines=self._has_other_machines)
        parameters = {
            "trial_fn": shipped,
            "place": WorkerPlacement(self._slots, self._scratch, _choose_backend(self._slots)),
        }
        trainable = tune.with_resources(tune.with_parameters(_train, **parameters), _resources(self._slots))
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=_TuneScheduler(searcher),
                num_samples=-1,
                # if reused, a stopped trial's actor waits for the next trial, and its workers keep their resources
                reuse_actors=self._slots.workers == 1,
                max_concurrent_trials=self._slots.count,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                storage_path=str(self._scratch),
                name=f"{os.getpid()}-{time.time_ns()}",
                stop=StopOnSchedulerError(guarded),
                verbose=0,
            ),
        )
        try:
            with detect_interrupt() as interrupts, watch_capacity(self._slots, self._patience_s) as capacity:
                tuner.fit()
        except Exception:
            if guarded.failure is None:
                raise
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if guarded.failure is not None:
            raise guarded.failure
        if capacity.problem:
            raise CodedError(
                "not-enough-room", f"{capacity.problem}; finished trials are kept, the same command resumes"
            )
        if interrupts.received or searcher.open or not searcher.is_exhausted:
            raise KeyboardInterrupt

    def _init_ray(self) -> None:
        set_default_environment()
        logging.getLogger("ray").propagate = True
        log_daemon_messages()
        if ray.is_initialized():
            return
        enable_token_auth(True)
        with preserve_sigterm_handler(), bind_to_loopback():
            ray.init(
                address="local",
                num_cpus=max(self._slots.count * self._slots.cpus, 1),
                include_dashboard=False,
                log_to_driver=False,
                configure_logging=False,  # its log records then reach our handlers
                object_store_memory=_OBJECT_STORE_BYTES,
                runtime_env={"env_vars": WORKER_ENVIRONMENT | thread_variables(self._slots.cpus_per_worker)},
            )
        restrict_token_permissions()  # Ray has just written the token file, readable by all users


def _resources(slots: Slots) -> tune.PlacementGroupFactory:
    """Return what Tune reserves for a trial: its only worker, or the driver process of several workers.

    Ray Train reserves the resources of several workers itself. Their driver process requires no CPU, so that it never
    blocks a worker, but a little memory, because Ray rejects an empty request.
    """
    worker: dict[str, float] = {"CPU": slots.cpus, "GPU": slots.gpus}
    return tune.PlacementGroupFactory([worker if slots.workers == 1 else {"memory": _DRIVER_BYTES}])


def _choose_backend(slots: Slots) -> str:
    """Return torch's process-group backend, probed on a node of the cluster because the driver may have no GPU."""
    if slots.workers == 1 or not slots.gpus:
        return "gloo"
    return "nccl" if run_remote(slots, _has_cuda) else "gloo"


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _train(config: dict[str, Any], trial_fn: TrialFn, place: WorkerPlacement) -> None:
    """Run one trial in a process of Tune's."""
    reporter = _TuneReporter()
    job = TrialSpec.model_validate_json(config["job"])
    if place.slots.workers == 1:
        pin_threads(place.slots.cpus)
        run_attempt(trial_fn, job, reporter)
    else:
        from embsweep.runners.ray.distributed import WorkerLost, run_group  # importing Ray Train takes seconds

        try:
            run_group(trial_fn, job, reporter, place)
        except WorkerLost as error:
            reporter.report_worker_loss(str(error))
            raise
    if reporter.is_stopped:
        sys.exit(0)  # as Tune requested; on return, its thread would wait for a driver that no longer polls this trial


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']:04d}"


class _TuneReporter:
    """Reporter of a trial in a Tune process. Tune stops a trial by raising SystemExit in `tune.report`."""

    def __init__(self) -> None:
        self.is_stopped = False

    def start(self, started: TrialStarted) -> None:
        tune.report({_MESSAGE: to_text(started)})

    def report(self, report: TrialReport) -> bool:
        try:
            tune.report({_MESSAGE: to_text(report)})
        except SystemExit:
            self.is_stopped = True
        return self.is_stopped

    def report_worker_loss(self, reason: str) -> None:
        """Report why this process is about to raise: workers died before the trial ended."""
        if not self.is_stopped:
            tune.report({_MESSAGE: "", _WORKER_LOST: reason})  # Tune requires its metric in every result

    def finish(self, result: TrialResult) -> None:
        if not self.is_stopped:  # the driver closed a stopped trial when it decided to stop it
            tune.report({_MESSAGE: to_text(result)})


class _TuneSearcher(Searcher):
    """Tune's search algorithm: gets trials from the scheduler and reports their ends to it."""

    def __init__(self, scheduler: TrialScheduler, first: TrialSpec) -> None:
        super().__init__(metric=_MESSAGE, mode="max")
        self.scheduler = scheduler
        self.first: TrialSpec | None = first
        self.open: dict[str, TrialSpec] = {}
        self.results: dict[str, TrialResult] = {}
        self.losses: dict[str, str] = {}
        self.is_exhausted = False

    def suggest(self, trial_id: str) -> Any:
        job, self.first = self.first or self.scheduler.suggest(), None
        if job is None and self.open:
            return None  # an open trial may be lost, and be suggested again
        if job is None:
            self.is_exhausted = True
            return Searcher.FINISHED
        self.open[trial_id] = job
        return {"number": job.number, "job": job.model_dump_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        finished = self.results.pop(trial_id, None)
        if finished is not None:
            self.scheduler.on_trial_complete(self.open.pop(trial_id).number, finished)
        elif error:
            self.scheduler.on_trial_error(self.open.pop(trial_id).number, self.losses.pop(trial_id, _PROCESS_DIED))
        # otherwise Tune itself was interrupted, and the trial stays open in the ledger

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: the ledger holds the state."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its ledger")

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Save nothing: the ledger holds the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _TuneScheduler(FIFOScheduler):
    """Tune's trial scheduler: passes each report to our scheduler and stops the trial if that returns True."""

    def __init__(self, searcher: _TuneSearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        job = self._searcher.open.get(trial.trial_id)
        if _WORKER_LOST in result:
            self._searcher.losses[trial.trial_id] = result[_WORKER_LOST]
            return str(self.CONTINUE)
        if job is None or _MESSAGE not in result or result.get("done"):
            return str(self.CONTINUE)
        message = from_text(result[_MESSAGE])
        if isinstance(message, TrialStarted):
            self._searcher.scheduler.on_trial_start(job.number, message)
        elif isinstance(message, TrialResult):
            self._searcher.results[trial.trial_id] = message
        elif self._searcher.scheduler.on_trial_result(job.number, message):
            self._searcher.results[trial.trial_id] = _stopped(job, message)
            return str(self.STOP)
        return str(self.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _stopped(job: TrialSpec, last: TrialReport) -> TrialResult:
    """Return the result of a trial that the scheduler stopped at `last`; its best weights are in `job.best`."""
    outcome = Outcome.STOPPED if last.fraction < 1.0 else Outcome.COMPLETE
    return TrialResult(outcome, last.best_objective, None, str(job.best), time.time())
