"""Ray Tune places the trials; what to try, what to stop and what is remembered stays at the desk.

Function trainables with reused actors keep one warm process a slot: the first trial pays the imports, the
next ones start at once. Tune's own snapshots are not used for resuming, so its searcher has nothing to save.
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
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from embsweep.runner.attempt import run_attempt
from embsweep.runner.desk import Desk, Work
from embsweep.runner.messages import from_text, to_text
from embsweep.runner.slots import Slots
from embsweep.trial.reporter import Outcome, Report, Started, TrialJob, TrialResult

log = logging.getLogger(__name__)

_MESSAGE = "message"
_OBJECT_STORE_BYTES = 256 * 2**20  # one copy of the texts; Ray's default of 30 % of memory is not ours to take

_DRIVER_ENVIRONMENT = {
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "120",  # a stopped trial may still be at its last step: wait, keep the process
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table whatever `verbose` says
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",  # a trial that was given no GPU sees none
}


class RayRunner:
    """Runs jobs in Ray's worker processes on this machine, `slots.count` at once."""

    def __init__(self, slots: Slots, scratch: Path) -> None:
        self._slots = slots
        self._scratch = scratch.resolve()

    def run(self, desk: Desk, work: Work) -> None:
        """See `Runner.run`. KeyboardInterrupt if Tune was told to stop before the desk ran out of jobs."""
        first = desk.next_job()
        if first is None:
            return  # Tune would wait for ever for a first trial
        os.environ.update(_DRIVER_ENVIRONMENT)
        self._init_ray()
        searcher = _DeskSearcher(desk, first)
        resources = {"cpu": self._slots.cpus, "gpu": self._slots.gpus}
        trainable = tune.with_resources(tune.with_parameters(_train, work=work), resources)
        try:
            tune.Tuner(
                trainable,
                tune_config=tune.TuneConfig(
                    search_alg=searcher,
                    scheduler=_DeskScheduler(searcher),
                    num_samples=-1,
                    reuse_actors=True,
                    max_concurrent_trials=self._slots.count,
                    trial_name_creator=_trial_name,
                    trial_dirname_creator=_trial_name,
                ),
                run_config=tune.RunConfig(
                    storage_path=str(self._scratch), name=f"{os.getpid()}-{time.time_ns()}", verbose=0
                ),
            ).fit()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if searcher.open or not searcher.is_exhausted:
            raise KeyboardInterrupt

    def _init_ray(self) -> None:
        logging.getLogger("ray").propagate = True
        if ray.is_initialized():
            return
        threads = str(self._slots.cpus)
        ray.init(
            address="local",
            num_cpus=max(self._slots.count * self._slots.cpus, 1),
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,  # its loggers then speak through ours
            object_store_memory=_OBJECT_STORE_BYTES,
            runtime_env={
                "env_vars": {
                    "OMP_NUM_THREADS": threads,
                    "MKL_NUM_THREADS": threads,
                    "TOKENIZERS_PARALLELISM": "false",
                    "TUNE_FUNCTION_THREAD_TIMEOUT_S": _DRIVER_ENVIRONMENT["TUNE_FUNCTION_THREAD_TIMEOUT_S"],
                    "RAY_CHDIR_TO_TRIAL_DIR": "0",
                }
            },
        )


def _train(config: dict[str, Any], work: Work) -> None:
    """What a worker process runs for each trial."""
    reporter = _TuneReporter()
    run_attempt(work, TrialJob.model_validate_json(config["job"]), reporter)
    if reporter.is_stopped:
        sys.exit(0)  # as Tune asked: returning instead would make its thread wait for a driver that has moved on


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']:04d}"


class _TuneReporter:
    """A trial's reporter inside a Tune worker. Tune answers *stop* by raising SystemExit out of `report`."""

    def __init__(self) -> None:
        self.is_stopped = False

    def start(self, started: Started) -> None:
        tune.report({_MESSAGE: to_text(started)})

    def report(self, report: Report) -> bool:
        try:
            tune.report({_MESSAGE: to_text(report)})
        except SystemExit:
            self.is_stopped = True
        return self.is_stopped

    def finish(self, result: TrialResult) -> None:
        if not self.is_stopped:  # the driver closed a stopped trial when it decided to stop it
            tune.report({_MESSAGE: to_text(result)})


class _DeskSearcher(Searcher):
    """Asks the desk for jobs and closes them there."""

    def __init__(self, desk: Desk, first: TrialJob) -> None:
        super().__init__(metric=_MESSAGE, mode="max")
        self.desk = desk
        self.first: TrialJob | None = first
        self.open: dict[str, TrialJob] = {}
        self.results: dict[str, TrialResult] = {}
        self.is_exhausted = False

    def suggest(self, trial_id: str) -> Any:
        job, self.first = self.first or self.desk.next_job(), None
        if job is None:
            self.is_exhausted = True
            return Searcher.FINISHED
        self.open[trial_id] = job
        return {"number": job.number, "job": job.model_dump_json()}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        found = self.results.pop(trial_id, None)
        if found is None and error:
            reason = "its worker process died (killed, out of memory, or crashed)"
            found = TrialResult(Outcome.FAILED, None, None, None, time.time(), reason)
        if found is not None:  # else Tune itself was interrupted: the trial stays open in the ledger
            self.desk.finished(self.open.pop(trial_id).number, found)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the desk's ledger is the state."""

    def restore(self, checkpoint_path: str) -> None:
        raise NotImplementedError("a sweep is resumed from its ledger")

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default", **kwargs: Any) -> None:
        """Nothing to save: the desk's ledger is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _DeskScheduler(FIFOScheduler):
    """Hands every report to the desk and stops what the desk stops."""

    def __init__(self, searcher: _DeskSearcher) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._searcher = searcher

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        job = self._searcher.open.get(trial.trial_id)
        if job is None or _MESSAGE not in result or result.get("done"):
            return str(TrialScheduler.CONTINUE)
        message = from_text(result[_MESSAGE])
        if isinstance(message, Started):
            self._searcher.desk.started(job.number, message)
        elif isinstance(message, TrialResult):
            self._searcher.results[trial.trial_id] = message
        elif self._searcher.desk.report(job.number, message):
            self._searcher.results[trial.trial_id] = _stopped(job, message)
            return str(TrialScheduler.STOP)
        return str(TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _stopped(job: TrialJob, last: Report) -> TrialResult:
    """The end of a trial that the desk stopped at `last`: its best weights are where every trial keeps them."""
    outcome = Outcome.STOPPED if last.fraction < 1.0 else Outcome.COMPLETE
    return TrialResult(outcome, last.best_objective, None, str(job.best), time.time())
