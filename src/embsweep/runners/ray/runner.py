"""Run trials with Ray Tune, which only schedules their processes; our scheduler decides what to run and stop.

Function trainables with reused actors keep one warm process per slot: only the first trial of a process
imports the libraries, the next ones start at once. A sweep is never resumed from Tune's own snapshots, so that its
searcher has no state to save.
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

from embsweep.core.environment import set_default_environment
from embsweep.core.errors import CodedError
from embsweep.runners.attempt import run_attempt
from embsweep.runners.base import TrialFn, TrialScheduler
from embsweep.runners.cluster.auth import enable_token_auth, restrict_token_permissions
from embsweep.runners.ray.capacity import CAPACITY_TIMEOUT_S, watch_capacity
from embsweep.runners.ray.environment import WORKER_ENVIRONMENT, pin_threads, thread_variables
from embsweep.runners.ray.object_store import put_trial_fn
from embsweep.runners.ray.remote_call import run_remote
from embsweep.runners.ray.tune_adapter import (
    ExceptionCapturingScheduler,
    StopOnSchedulerError,
    TuneReporter,
    TuneScheduler,
    TuneSearcher,
)
from embsweep.runners.ray.workarounds import (
    bind_to_loopback,
    detect_interrupt,
    log_daemon_messages,
    preserve_sigterm_handler,
)
from embsweep.runners.resources import Slots, WorkerPlacement
from embsweep.training.messages import TrialSpec

_DRIVER_BYTES = 2**20
_OBJECT_STORE_BYTES = 256 * 2**20  # one copy of the texts; Ray would take 30 % of the machine's memory


class RayRunner:
    """Runs `slots.count` trials at once in Ray's processes: on this machine, or on the cluster joined before.

    Args:
        slots: Number of concurrent trials and the resources of each.
        scratch: Folder for Tune's own files; deleted at the end of `run`.
        patience_s: Longest time without capacity for a single trial, in seconds.
    """

    def __init__(self, slots: Slots, scratch: Path, *, patience_s: float = CAPACITY_TIMEOUT_S) -> None:
        self._slots = slots
        self._patience_s = patience_s
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
        searcher = TuneSearcher(guarded, first)
        shipped = put_trial_fn(trial_fn)
        parameters = {
            "trial_fn": shipped,
            "place": WorkerPlacement(self._slots, self._scratch, _choose_backend(self._slots)),
        }
        trainable = tune.with_resources(tune.with_parameters(_train, **parameters), _resources(self._slots))
        tuner = tune.Tuner(
            trainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=TuneScheduler(searcher),
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
    reporter = TuneReporter()
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
