"""A desk that only remembers, and a scripted trial: the runners' contract without any training."""

import os
import time

import pytest

from embsweep.trial.reporter import Outcome, Report, Started, TrialJob, TrialResult

ATTEMPTS = 2


class FakeDesk:
    """Hands out `count` jobs; stops trials for which `should_stop(number, report)` holds."""

    def __init__(self, config, folder, count, should_stop=lambda number, report: False):
        self.queue = [TrialJob(number=n, attempt=1, config=config, folder=str(folder / str(n))) for n in range(count)]
        self.jobs = {}
        self.should_stop = should_stop
        self.starts, self.reports, self.results, self.losses = {}, {}, {}, {}

    def next_job(self):
        job = self.queue.pop(0) if self.queue else None
        if job is not None:
            self.jobs[job.number] = job
        return job

    def started(self, number, started):
        self.starts[number] = started

    def report(self, number, report):
        self.reports.setdefault(number, []).append(report)
        return self.should_stop(number, report)

    def finished(self, number, result):
        assert number not in self.results, "finished twice"
        self.results[number] = result

    def lost(self, number, reason):
        assert number not in self.results, "lost after its end"
        self.losses.setdefault(number, []).append(reason)
        job = self.jobs[number]
        if job.attempt < ATTEMPTS:
            self.queue.append(job.model_copy(update={"attempt": job.attempt + 1}))
        else:
            self.finished(number, TrialResult(Outcome.FAILED, None, None, None, time.time(), reason))


def scripted_work(behaviour=None, pause_s=0.05, fractions=(0.25, 0.5, 1.0)):
    """A trial that reports its number as its score; a closure, so that Ray ships it by value.

    `behaviour` maps a number to `raise`, `die` (every time), `die once`, `fail` or `silent`.
    """
    behaviour = behaviour or {}

    def work(job, reporter):
        begin = time.time()
        reporter.start(Started(os.getpid(), "here", begin, 0.0, 0.0, {"threads": os.environ.get("OMP_NUM_THREADS")}))
        kind = behaviour.get(job.number)
        for step, fraction in enumerate(fractions, start=1):
            time.sleep(pause_s)
            if kind == "raise" and fraction >= 0.5:
                raise RuntimeError("scripted defect")
            if (kind == "die" or (kind == "die once" and job.attempt == 1)) and fraction >= 0.5:
                os._exit(9)
            value = float(job.number)
            scores = {64: {"map@100": value}}
            if reporter.report(
                Report(fraction, step, fraction, value, value, fraction, scores, 0.1, 1e-5, time.time())
            ):
                reporter.finish(TrialResult(Outcome.STOPPED, value, scores, job.folder, time.time()))
                return
        if kind == "silent":
            return
        if kind == "fail":
            reporter.finish(TrialResult(Outcome.FAILED, None, None, None, time.time(), "scripted failure"))
            return
        reporter.finish(TrialResult(Outcome.COMPLETE, value, scores, job.folder, time.time()))

    return work


@pytest.fixture
def make_desk(make_config, tmp_path):
    def make(count, **kwargs):
        return FakeDesk(make_config().trial, tmp_path, count, **kwargs)

    return make
