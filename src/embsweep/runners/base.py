"""Interfaces between a runner and the sweep: a `Runner` executes the trials that a `TrialScheduler` suggests.

A sweep opens its runner (`runners.factory`), asks for its machines, plans the trials' resources, and closes it at the
end, whatever happened.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from embsweep.config.sweep import RunnerConfig
from embsweep.core.subprocess import run_in_subprocess
from embsweep.runners.resources import Machine, Slots, inspect_machine
from embsweep.training.messages import Reporter, TrialReport, TrialResult, TrialSpec, TrialStarted

R = TypeVar("R")

TrialFn = Callable[[TrialSpec, Reporter], TrialResult]
"""A function that runs one trial to its end, reports, and returns its result; picklable by reference, so that other
processes can call it.

`InlineRunner` calls it in the driver process, in the thread that called `run`. `RayRunner` calls it in a worker
process, in a thread that is not the main one: once, in the process of the Ray Tune trial, if the trial has one worker;
otherwise at the same time in each of the trial's workers.
"""


class TrialScheduler(Protocol):
    """Suggests trials and records their reports.

    All methods are called in the driver process, by the thread that called `Runner.run`, one call at a time: an
    implementation needs no locks. `InlineRunner` calls them directly, the `on_` methods through the trial's reporter.
    `RayRunner` calls them from Ray Tune's control loop (`Tuner.fit`), which receives the reports of the worker
    processes.

    For each suggested trial `on_trial_start` is called first (not if it ends before it is set up), then
    `on_trial_result` once per evaluation, and last either `on_trial_complete` or `on_trial_error`, exactly once.
    Neither is called for a trial that is open when the run is interrupted or a method of the scheduler raises an
    exception. Such an exception ends the run: no further method is called, and `Runner.run` raises it.
    """

    def suggest(self) -> TrialSpec | None:
        """Return the next trial to run, or None if there is none at present.

        `InlineRunner` calls it after each trial; None ends the run. `RayRunner` calls it once before Ray starts, then
        from Tune's search algorithm (`TuneAdapter.suggest`) whenever fewer trials than slots are open. It asks again
        after None while trials are open, because one that is lost may be suggested again; None with no open trial ends
        the run.
        """

    def on_trial_start(self, number: int, started: TrialStarted) -> None:
        """Record that a trial is set up and about to train.

        `InlineRunner` calls it from the trial's `Reporter.start`, `RayRunner` from Tune's control loop
        (`TuneAdapter.__call__`) when the message of the worker process arrives.

        Args:
            number: The trial's number.
            started: Process, host, setup times and facts of the attempt, and the reports of earlier attempts.
        """

    def on_trial_result(self, number: int, report: TrialReport) -> bool:
        """Record an evaluation and return True if the trial should stop.

        `InlineRunner` calls it from the trial's `Reporter.report`, `RayRunner` from Tune's control loop
        (`TuneAdapter.__call__`). With either, the trial waits for the answer.

        Args:
            number: The trial's number.
            report: The evaluation.

        Returns:
            True to stop the trial; `on_trial_complete` is called next.
        """

    def on_trial_complete(self, number: int, result: TrialResult) -> None:
        """Record the end of a trial, whatever its outcome; `suggest` may return one again that ran out of memory.

        `InlineRunner` calls it from the attempt's `Reporter.finish`. `RayRunner` calls it from Tune's search algorithm
        (`TuneAdapter.on_trial_complete`) when Tune has closed the trial: after the result has arrived from the worker
        process, or after `on_trial_result` returned True, with a result that the driver builds from that report.

        Args:
            number: The trial's number.
            result: Outcome, best objective, checkpoint folder and, if it failed, the reason.
        """

    def on_trial_error(self, number: int, reason: str) -> None:
        """Record that a process of a trial, or its node, died before the trial ended; `suggest` may return it again.

        `RayRunner` calls it from Tune's search algorithm (`TuneAdapter.on_trial_complete`), also for a process that was
        ended because its CUDA context is broken. `InlineRunner` calls it for that reason only, and ends the run: its
        trials have no process of their own.

        Args:
            number: The trial's number.
            reason: The cause of the loss, as far as it is known.
        """

    def on_warning(self, text: str) -> None:
        """Tell the user about a fault that is no trial's own, in one line; nothing is recorded.

        Only `RayRunner` calls it, when a GPU is taken out of use or is used again (`GpuHealth`).

        Args:
            text: The line.
        """


class Runner(ABC):
    """Runs the trials of a scheduler, and single functions, on the machines of a sweep.

    The methods of this class are those of a runner whose machine is this one. A runner on other machines overrides
    `machines`, `call` and `close`; each has its own `run`.
    """

    is_remote: ClassVar[bool] = False
    """True if trials may run on machines that share nothing with this one but the storage folder."""

    def machines(self) -> tuple[Machine, ...]:
        """Return the CPUs and GPUs of each machine that trials may run on.

        Raises:
            InputError: If a machine cannot be used; it has a diagnostic for every problem.
        """
        return (inspect_machine(),)

    @abstractmethod
    def plan(self, config: RunnerConfig, machines: Sequence[Machine], trials: int, scratch: Path) -> Slots:
        """Divide the machines among concurrent trials; `run` and `call` use the result.

        Args:
            config: The runner's configuration.
            machines: What `machines` returned.
            trials: The most trials that will ever run at once.
            scratch: Folder for the runner's own files, which every machine can write to; deleted at the end of `run`.

        Raises:
            InputError: If a single trial does not fit; it has a diagnostic for each key that requires too much.
        """

    @abstractmethod
    def run(self, scheduler: TrialScheduler, trial_fn: TrialFn) -> None:
        """Block until `suggest` has returned None and every suggested trial has ended.

        A trial that fails or dies does not end the others.

        Args:
            scheduler: Suggests the trials and records their reports, in the calling thread.
            trial_fn: The function that runs one trial.

        Raises:
            Exception: If a method of `scheduler` raises it; open trials stay open in the ledger.
        """

    def call(self, function: Callable[..., R], *args: Any, in_new_process: bool = True, **keywords: Any) -> R:
        """Return `function(*args, **keywords)`, run on a machine of the trials; its exceptions are raised here.

        Args:
            function: The function; it, its arguments and its result must be picklable.
            *args: Its positional arguments.
            in_new_process: False if this process will do, where trials run on this machine: it has imported the
                libraries already.
            **keywords: Its keyword arguments.

        Raises:
            EmbsweepError: If the process dies.
        """
        return run_in_subprocess(function, *args, **keywords) if in_new_process else function(*args, **keywords)

    def close(self) -> None:  # noqa: B027 -- most runners hold nothing open
        """Release what the runner holds open; it cannot be used any more."""
