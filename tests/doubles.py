"""A scheduler that only records its calls, and a scripted trial that completes, stops, fails or dies; without torch.

The trial function is a closure: Ray serialises it by value, so that its processes need not import this module.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted

ATTEMPTS = 2
METRIC = "map@100"
FAULTS = {
    "raise": "RuntimeError: first line | second line",
    "memory": "MemoryError",
    "exit": "sys.exit(3)",
    "interrupt": "KeyboardInterrupt",
    "fail": "scripted failure",
    "nan": "nan",
    "inf": "inf",
}
"""Faults that do not kill a trial's process, and what the reason of its result contains."""


class FakeScheduler:
    """A scheduler that hands out `count` jobs and stops trials for which `should_stop(number, report)` is true."""

    def __init__(self, config, folder, count, should_stop=lambda number, report: False):
        self.queue = [TrialSpec(number=n, attempt=1, config=config, folder=str(folder / str(n))) for n in range(count)]
        self.jobs = {}
        self.should_stop = should_stop
        self.starts, self.reports, self.results, self.losses = {}, {}, {}, {}
        self.warnings = []

    def suggest(self):
        job = self.queue.pop(0) if self.queue else None
        if job is not None:
            self.jobs[job.number] = job
        return job

    def on_trial_start(self, number, started):
        self.starts[number] = started

    def on_trial_result(self, number, report):
        self.reports.setdefault(number, []).append(report)
        return self.should_stop(number, report)

    def on_trial_complete(self, number, result):
        assert number not in self.results, "completed twice"
        self.results[number] = result

    def on_warning(self, text):
        self.warnings.append(text)

    def on_trial_error(self, number, reason):
        assert number not in self.results, "lost after it was completed"
        self.losses.setdefault(number, []).append(reason)
        job = self.jobs[number]
        if job.attempt < ATTEMPTS:
            self.queue.append(job.model_copy(update={"attempt": job.attempt + 1}))
        else:
            self.on_trial_complete(number, TrialResult.failed(reason))


def reports_of(rungs):
    """Return `to_report(rung)`, which makes the report of one of `rungs` evaluations with its number as the score."""

    def to_report(rung, value=None):
        value, fraction = float(rung) if value is None else value, rung / rungs
        return TrialReport(
            fraction, rung, fraction, value, value, fraction, {64: {METRIC: value}}, 0.1, 1e-5, float(rung)
        )

    return to_report


def faults_of(rungs):
    """Return `inject(kind, job, reporter)`, which applies a fault of `scripted_trial`."""
    to_report = reports_of(rungs)
    errors = {
        "raise": RuntimeError("first line\nsecond line"),
        "memory": MemoryError(),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
    }
    values = {"nan": math.nan, "inf": math.inf}

    def inject(kind, job, reporter):
        if kind == "die" or (kind == "die once" and job.attempt == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "wait":
            threading.Event().wait()
        if kind in errors:
            raise errors[kind]
        if kind in values:
            to_report(2, values[kind])  # a report cannot be built from it

    return inject


def states_of():
    """Return `load(job)` and `save(job, rung)` for the last evaluation that a trial has begun to report."""

    def load(job):
        state = Path(job.folder, "state.json")
        return json.loads(state.read_text()) if state.exists() else 0

    def save(job, rung):
        state = Path(job.folder, "state.json")
        state.parent.mkdir(parents=True, exist_ok=True)
        fresh = state.with_suffix(f".{os.getpid()}")
        fresh.write_text(json.dumps(rung))
        fresh.replace(state)

    return load, save


def barrier_of(at_once):
    """Return `wait(job)`, which blocks until `at_once` attempts have begun among the trials of one folder."""

    def wait(job):
        begun = Path(job.folder).parent / "begun"
        begun.mkdir(parents=True, exist_ok=True)
        (begun / f"{job.number}-{job.attempt}").touch()
        end = time.monotonic() + 120
        while len(list(begun.iterdir())) < at_once and time.monotonic() < end:
            time.sleep(0.02)

    return wait


def scripted_trial(plan=None, *, rungs=4, at_once=1):
    """Return a trial function with `rungs` evaluations that saves its progress in its folder and resumes from it.

    Args:
        plan: Number of a trial → its fault after the first new evaluation of each attempt: a key of `FAULTS`, `die` or
            `die once` (SIGKILL of its process; with several workers, of the last one) or `wait` (until it is killed).
        rungs: Number of evaluations; the objective of each is its number, so that a trial's best is `rungs`.
        at_once: An attempt begins its evaluations once this many attempts have begun in the sweep's folder.
    """
    faults, to_report, inject = dict(plan or {}), reports_of(rungs), faults_of(rungs)
    (load, save), wait_for_others = states_of(), barrier_of(at_once)

    def group():
        from embsweep.core.distributed import SINGLE, current_group

        return current_group() if "torch" in sys.modules else SINGLE

    def evaluate(job, reporter, begun):
        """Return the result of a trial that was stopped, None for any other."""
        is_last = group().rank == group().size - 1
        for rung in range(max(begun, 1), rungs + 1):
            save(job, rung)
            if reporter.report(to_report(rung)):
                return TrialResult(Outcome.STOPPED, float(rung), job.folder, time.time())
            kind = faults.get(job.number)
            if rung == begun + 1 and (is_last or kind not in ("die", "die once")):
                inject(kind, job, reporter)
        return None

    def trial_fn(job, reporter):
        begun, kind = group().broadcast(load(job)), faults.get(job.number)
        facts = {"threads": os.environ.get("OMP_NUM_THREADS")}
        earlier = tuple(to_report(rung) for rung in range(1, begun))
        reporter.start(TrialStarted(os.getpid(), "here", time.time(), 0.0, 0.0, facts, earlier))
        wait_for_others(job)
        stopped = evaluate(job, reporter, begun)
        if kind == "fail":
            return TrialResult.failed("scripted failure")
        return stopped or TrialResult(Outcome.COMPLETE, float(rungs), job.folder, time.time())

    return trial_fn
