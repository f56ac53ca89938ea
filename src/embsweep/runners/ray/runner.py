"""Run trials with Ray Tune, which only schedules their processes; our scheduler decides what to run and stop.

Function trainables with reused actors keep one warm process per slot: only the first trial of a process
imports the libraries, the next ones start at once. A sweep is never resumed from Tune's own snapshots, so that its
searcher has no state to save.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.experiment import Trial

from embsweep.config.sweep import RunnerConfig
from embsweep.runners.attempt import run_attempt
from embsweep.runners.base import Runner, TrialFn, TrialScheduler
from embsweep.runners.ray.capacity import CAPACITY_TIMEOUT_S, CapacityWatch
from embsweep.runners.ray.environment import WORKER_ENVIRONMENT, pin_threads, thread_variables
from embsweep.runners.ray.object_store import put_trial_fn
from embsweep.runners.ray.private_folder import create_private_folder
from embsweep.runners.ray.session import connect, raise_interrupts
from embsweep.runners.ray.tune_adapter import TuneAdapter
from embsweep.runners.ray.tune_reporter import TuneReporter
from embsweep.runners.resources import Machine, Slots, plan_slots
from embsweep.training.messages import TrialSpec

_DRIVER_BYTES = 2**20
_OBJECT_STORE_BYTES = 256 * 2**20  # one copy of the texts; Ray would take 30 % of the machine's memory


class RayRunner(Runner):
    """Runs trials at the same time in processes of a Ray that it starts on this machine.

    Args:
        patience_s: Longest time without capacity for a single trial, in seconds.
    """

    _slots: Slots
    _scratch: Path
    _machine: Machine

    def __init__(self, *, patience_s: float = CAPACITY_TIMEOUT_S) -> None:
        self._patience_s = patience_s

    def plan(self, config: RunnerConfig, machines: Sequence[Machine], trials: int, scratch: Path) -> Slots:
        """Divide the machines among as many trials as fit; see `Runner.plan`."""
        return self.use(plan_slots(config, machines, trials), scratch, machines[0])

    def use(self, slots: Slots, scratch: Path, machine: Machine | None = None) -> Slots:
        """Use these slots and this folder for Tune's own files, and return the slots.

        Args:
            slots: The number of concurrent trials and the resources of each.
            scratch: The folder.
            machine: What Ray is told that this machine has, if it is started here; without it, what the slots need.
        """
        self._slots, self._scratch = slots, scratch.resolve()
        self._machine = machine or Machine(slots.count * slots.cpus, math.ceil(slots.count * slots.gpus))
        return slots

    def connect(self) -> None:
        """Start Ray on this machine's loopback address, unless this process is connected already.

        It gets all CPUs and GPUs that were planned with: the next sweep in this process may need more than this one,
        and Ray's own count of GPUs may differ from those that torch can use.
        """
        if not ray.is_initialized():
            connect(
                "local",
                num_cpus=max(self._slots.count * self._slots.cpus, self._machine.cpus),
                num_gpus=self._machine.gpus,
                include_dashboard=False,
                _temp_dir=str(create_private_folder()),
                object_store_memory=_OBJECT_STORE_BYTES,
                runtime_env={"env_vars": WORKER_ENVIRONMENT | thread_variables(self._slots.cpus_per_worker)},
            )

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
        self.connect()
        adapter = TuneAdapter(scheduler, first, CapacityWatch(self._slots, self._patience_s))
        trainable = tune.with_parameters(_train, trial_fn=put_trial_fn(trial_fn), slots=self._slots)
        tuner = tune.Tuner(
            tune.with_resources(trainable, _resources(self._slots)),
            tune_config=tune.TuneConfig(
                search_alg=adapter,
                num_samples=-1,
                reuse_actors=True,
                max_concurrent_trials=self._slots.count,
                trial_name_creator=_trial_name,
                trial_dirname_creator=_trial_name,
            ),
            run_config=tune.RunConfig(
                storage_path=str(self._scratch),
                name=f"{os.getpid()}-{time.time_ns()}",
                stop=adapter,
                verbose=0,
            ),
        )
        try:
            with raise_interrupts():
                tuner.fit()
        except (Exception, KeyboardInterrupt) as error:
            adapter.failure = adapter.failure or error
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)
        if adapter.failure is not None:
            raise adapter.failure
        if adapter.open or not adapter.is_exhausted:
            raise KeyboardInterrupt


def _resources(slots: Slots) -> tune.PlacementGroupFactory:
    """Return what Tune reserves for a trial: its only worker, or the process that reports for its workers and those.

    That process requires no CPU, but a little memory, because Ray rejects an empty request.
    """
    worker: dict[str, float] = {"CPU": slots.cpus_per_worker, "GPU": slots.gpus_per_worker}
    reporting: list[dict[str, float]] = [] if slots.workers == 1 else [{"memory": _DRIVER_BYTES}]
    return tune.PlacementGroupFactory([*reporting, *(worker,) * slots.workers])


def _train(config: dict[str, Any], trial_fn: TrialFn, slots: Slots) -> None:
    """Run one trial in a process of Tune's."""
    reporter = TuneReporter()
    job = TrialSpec.model_validate_json(config["job"])
    if slots.workers > 1:
        _run_group(trial_fn, job, reporter, slots)
    elif not slots.gpus or reporter.claim_gpu(config["out_of_use"]):
        pin_threads(slots.cpus)
        if run_attempt(trial_fn, job, reporter).context_broken:
            os._exit(1)  # `finish` has returned: the driver has the result, and asks this process to go on
    if reporter.is_stopped:
        sys.exit(0)  # as Tune requested; on return, its thread would wait for a driver that no longer polls this trial


def _run_group(trial_fn: TrialFn, job: TrialSpec, reporter: TuneReporter, slots: Slots) -> None:
    from embsweep.runners.ray.distributed import WorkerLost, run_group

    try:
        run_group(trial_fn, job, reporter, slots)
    except WorkerLost as error:
        reporter.report_worker_loss(str(error))
        raise


def _trial_name(trial: Trial) -> str:
    return f"trial-{trial.config['number']:04d}"
