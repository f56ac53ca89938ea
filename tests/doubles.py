"""A desk that only remembers and a scripted trial, without torch: what runs, stops, fails and dies.

What Ray ships is a closure: it travels by value, so that its processes need not find this module.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

from embsweep.runners.attempt import NO_RESULT
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted

ATTEMPTS = 2
METRIC = "map@100"
FAULTS = {
    "raise": "RuntimeError: first line | second line",
    "memory": "MemoryError",
    "exit": "sys.exit(3)",
    "interrupt": "KeyboardInterrupt",
    "silent": NO_RESULT,
    "fail": "scripted failure",
    "nan": "nan",
    "inf": "inf",
    "metric": METRIC,
}
"""Faults of a trial that is alive, and what the reason of its result names."""


class FakeScheduler:
    """Hands out `count` jobs; stops trials for which `should_stop(number, report)` holds."""

    def __init__(self, config, folder, count, should_stop=lambda number, report: False):
        self.queue = [TrialSpec(number=n, attempt=1, config=config, folder=str(folder / str(n))) for n in range(count)]
        self.jobs = {}
        self.should_stop = should_stop
        self.starts, self.reports, self.results, self.losses = {}, {}, {}, {}

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
        assert number not in self.results, "finished twice"
        self.results[number] = result

    def on_trial_error(self, number, reason):
        assert number not in self.results, "lost after its end"
        self.losses.setdefault(number, []).append(reason)
        job = self.jobs[number]
        if job.attempt < ATTEMPTS:
            self.queue.append(job.model_copy(update={"attempt": job.attempt + 1}))
        else:
            self.on_trial_complete(number, TrialResult(Outcome.FAILED, None, None, None, time.time(), reason))


def reports_of(rungs):
    """`to_report(rung)`: the report of that evaluation, out of `rungs`, with its number as the score."""

    def to_report(rung, value=None, metric=METRIC):
        value, fraction = float(rung) if value is None else value, rung / rungs
        return TrialReport(
            fraction, rung, fraction, value, value, fraction, {64: {metric: value}}, 0.1, 1e-5, float(rung)
        )

    return to_report


def faults_of(rungs):
    """`go_wrong(kind, job, reporter)`: what befalls a trial, see `scripted_trial`."""
    to_report = reports_of(rungs)
    errors = {
        "raise": RuntimeError("first line\nsecond line"),
        "memory": MemoryError(),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
    }
    reports = {"nan": to_report(2, math.nan), "inf": to_report(2, math.inf), "metric": to_report(2, metric="ndcg@10")}

    def go_wrong(kind, job, reporter):
        if kind == "die" or (kind == "die once" and job.attempt == 1):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "wait":
            threading.Event().wait()
        if kind in errors:
            raise errors[kind]
        if kind in reports:
            reporter.report(reports[kind])

    return go_wrong


def states_of():
    """`load(job)` and `save(job, rung)`: the last evaluation that a trial has begun to report, in its folder."""

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


def meeting_of(at_once):
    """`meet(job)`: wait until `at_once` attempts have begun among the trials of one folder."""

    def meet(job):
        begun = Path(job.folder).parent / "begun"
        begun.mkdir(parents=True, exist_ok=True)
        (begun / f"{job.number}-{job.attempt}").touch()
        end = time.monotonic() + 120
        while len(list(begun.iterdir())) < at_once and time.monotonic() < end:
            time.sleep(0.02)

    return meet


def scripted_trial(plan=None, *, rungs=4, at_once=1):
    """A trial of `rungs` evaluations that keeps what it has reported in its folder, as JSON, and resumes from it.

    Args:
        plan: number of a trial → its fault behind the first new evaluation of each attempt: a key of `FAULTS`, `die`
            or `die once` (SIGKILL of its process; of several, of the last one) or `wait` (until its process is ended).
        rungs: Evaluations; the objective of each is its number, so that a trial's best is `rungs`.
        at_once: An attempt begins its evaluations once so many attempts have begun in this sweep's folder.
    """
    faults, to_report, go_wrong = dict(plan or {}), reports_of(rungs), faults_of(rungs)
    (load, save), meet = states_of(), meeting_of(at_once)

    def group():
        from embsweep.core.distributed import SINGLE, current_group

        return current_group() if "torch" in sys.modules else SINGLE

    def evaluate(job, reporter, begun):
        """Whether it was stopped."""
        is_last = group().rank == group().size - 1
        for rung in range(max(begun, 1), rungs + 1):
            save(job, rung)
            if reporter.report(to_report(rung)):
                reporter.finish(TrialResult(Outcome.STOPPED, float(rung), None, job.folder, time.time()))
                return True
            kind = faults.get(job.number)
            if rung == begun + 1 and (is_last or kind not in ("die", "die once")):
                go_wrong(kind, job, reporter)
        return False

    def trial_fn(job, reporter):
        begun, kind = group().broadcast(load(job)), faults.get(job.number)
        facts = {"threads": os.environ.get("OMP_NUM_THREADS")}
        earlier = tuple(to_report(rung) for rung in range(1, begun))
        reporter.start(TrialStarted(os.getpid(), "here", time.time(), 0.0, 0.0, facts, earlier))
        meet(job)
        if evaluate(job, reporter, begun) or kind == "silent":
            return
        failed = TrialResult(Outcome.FAILED, None, None, None, time.time(), "scripted failure")
        complete = TrialResult(Outcome.COMPLETE, float(rungs), None, job.folder, time.time())
        reporter.finish(failed if kind == "fail" else complete)

    return trial_fn
