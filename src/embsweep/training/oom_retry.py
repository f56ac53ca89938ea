"""One more try for a trial that ran out of memory: with half the mini-batch, where that leaves the training as it is.

A cached loss accumulates its gradient over mini-batches, so that half their size is twice as many of them and the same
step. The plain loss has no such parts: half its batch has half the negatives, which would be another trial.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from embsweep.config import TrialConfig
from embsweep.core.distributed import current_group
from embsweep.training.memory import is_out_of_memory, was_evaluating
from embsweep.training.messages import Reporter, TrialReport, TrialResult, TrialSpec, TrialStarted

OOM_RETRY_FACT = "oom_retry"
_SIZE = "mini_batch_size"


@dataclass(frozen=True)
class OomRetry:
    """Pairs of a mini-batch when memory ran out, and of the second try."""

    previous: int
    after: int

    def __str__(self) -> str:
        return f"loss.mini_batch_size {self.previous} → {self.after}"


@dataclass
class ReplayFilter:
    """A trial's reporter that remembers what it has passed on: a second try says nothing twice."""

    inner: Reporter
    started: TrialStarted | None = None
    last: TrialReport | None = None
    retry: OomRetry | None = None
    _should_stop: bool = False

    def start(self, started: TrialStarted) -> None:
        """See `Reporter.start`. What earlier attempts have said is passed on once."""
        self.inner.start(started if self.started is None else replace(started, earlier=()))
        self.started = started

    def report(self, report: TrialReport) -> bool:
        """See `Reporter.report`. The last report, handed over again, gets the answer that it got."""
        if report != self.last:
            self._should_stop = self.inner.report(report)
            self.last = report
        return self._should_stop

    def finish(self, result: TrialResult) -> None:
        """See `Reporter.finish`."""
        self.inner.finish(result)

    @property
    def has_reported(self) -> bool:
        """Whether anybody knows of an evaluation of this trial."""
        return self.last is not None or (self.started is not None and bool(self.started.earlier))


def plan_retry(error: Exception, job: TrialSpec, heard: ReplayFilter) -> OomRetry | None:
    """The second try of a trial that ended with `error`, or None where there is none to make."""
    if not is_out_of_memory(error) or heard.started is None or _obstacle(error, job, heard):
        return None
    size = _size(job, heard.started)
    return OomRetry(size, size // 2)


def describe_retry(error: Exception, job: TrialSpec, heard: ReplayFilter) -> str | None:
    """What was tried where memory ran out, or why nothing was; None for any other error, and for one before a step."""
    if not is_out_of_memory(error) or heard.started is None:
        return None
    retry = heard.retry
    if retry is not None:
        return f"Tried with loss.mini_batch_size={retry.previous}, and once more with {retry.after}."
    obstacle = _obstacle(error, job, heard)
    return f"Not tried again with less: {obstacle}." if obstacle else None


def with_retry_size(config: TrialConfig, heard: ReplayFilter) -> TrialConfig:
    """The configuration with the mini-batch of the second try, where there was one: what advice has to start from."""
    if heard.retry is None:
        return config
    return config.model_copy(update={"loss": config.loss.model_copy(update={_SIZE: heard.retry.after})})


def _obstacle(error: Exception, job: TrialSpec, heard: ReplayFilter) -> str | None:
    """Why a trial that has begun to train is not tried again with less."""
    assert heard.started is not None  # its callers have looked
    earlier = heard.started.facts.get(OOM_RETRY_FACT)
    obstacles = {
        f"that was done before ({earlier})": bool(earlier),
        "it was the evaluation, which has no mini-batch": was_evaluating(error),
        "half a batch would have half the negatives, and be another training": job.config.loss.mini_batch_size is None,
        "a mini-batch is one pair already": _size(job, heard.started) < 2,
        "its other workers wait for this one": current_group().size > 1,
        "its state could not be kept, so that it cannot go on": heard.has_reported and not job.state.is_dir(),
    }
    return next((words for words, holds in obstacles.items() if holds), None)


def _size(job: TrialSpec, started: TrialStarted) -> int:
    """Pairs that were held at once: a mini-batch, or the batch where that is smaller."""
    return min(int(started.facts.get(_SIZE, 1)), job.config.train.batch_size)
