"""Retry a trial that ran out of memory with half the mini-batch, if that does not change the training.

A cached loss accumulates its gradient over mini-batches: with half the size there are twice as many, and the step is
the same. The plain loss has no mini-batches: half its batch has half the negatives, which would be another trial.
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
    """Pairs of a mini-batch when memory ran out, and in the retry."""

    previous: int
    after: int

    def __str__(self) -> str:
        return f"loss.mini_batch_size {self.previous} → {self.after}"


@dataclass
class ReplayFilter:
    """A reporter that forwards each report once, so that a retry repeats none."""

    inner: Reporter
    started: TrialStarted | None = None
    last: TrialReport | None = None
    retry: OomRetry | None = None
    _should_stop: bool = False

    def start(self, started: TrialStarted) -> None:
        """See `Reporter.start`. The reports of earlier attempts are forwarded once."""
        self.inner.start(started if self.started is None else replace(started, earlier=()))
        self.started = started

    def report(self, report: TrialReport) -> bool:
        """See `Reporter.report`. A repeated last report gets the same answer again."""
        if report != self.last:
            self._should_stop = self.inner.report(report)
            self.last = report
        return self._should_stop

    def finish(self, result: TrialResult) -> None:
        """See `Reporter.finish`."""
        self.inner.finish(result)

    @property
    def has_reported(self) -> bool:
        """True if an evaluation of this trial was reported."""
        return self.last is not None or (self.started is not None and bool(self.started.earlier))


def plan_retry(error: Exception, job: TrialSpec, replay: ReplayFilter) -> OomRetry | None:
    """Return the retry of a trial that ended with `error`, None if there is none."""
    if not is_out_of_memory(error) or replay.started is None or _obstacle(error, job, replay):
        return None
    size = _size(job, replay.started)
    return OomRetry(size, size // 2)


def describe_retry(error: Exception, job: TrialSpec, replay: ReplayFilter) -> str | None:
    """Describe the retry, or why there was none; None for other errors, and for one before the first step."""
    if not is_out_of_memory(error) or replay.started is None:
        return None
    retry = replay.retry
    if retry is not None:
        return f"Tried with loss.mini_batch_size={retry.previous}, and once more with {retry.after}."
    obstacle = _obstacle(error, job, replay)
    return f"Not tried again with less: {obstacle}." if obstacle else None


def with_retry_size(config: TrialConfig, replay: ReplayFilter) -> TrialConfig:
    """Return the configuration with the retry's mini-batch, if there was a retry: suggestions are based on it."""
    if replay.retry is None:
        return config
    return config.model_copy(update={"loss": config.loss.model_copy(update={_SIZE: replay.retry.after})})


def _obstacle(error: Exception, job: TrialSpec, replay: ReplayFilter) -> str | None:
    """Return why a trial that has begun to train is not retried, None if it is."""
    assert replay.started is not None  # its callers check this
    earlier = replay.started.facts.get(OOM_RETRY_FACT)
    obstacles = {
        f"that was done before ({earlier})": bool(earlier),
        "it was the evaluation, which has no mini-batch": was_evaluating(error),
        "half a batch would have half the negatives, and be another training": job.config.loss.mini_batch_size is None,
        "a mini-batch is one pair already": _size(job, replay.started) < 2,
        "its other workers wait for this one": current_group().size > 1,
        "its state could not be written, so that it cannot resume": replay.has_reported and not job.state.is_dir(),
    }
    return next((words for words, holds in obstacles.items() if holds), None)


def _size(job: TrialSpec, started: TrialStarted) -> int:
    """Return the pairs held at once: a mini-batch, or the batch if that is smaller."""
    return min(int(started.facts.get(_SIZE, 1)), job.config.train.batch_size)
