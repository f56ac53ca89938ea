"""Run one trial: load the model, train it, evaluate it at the rungs, keep the best weights, report."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from embsweep.config import TrialConfig
from embsweep.core.distributed import ProcessGroup, current_group
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.models.copies import ModelCopy, find_copy
from embsweep.training.failures import describe_frames
from embsweep.training.hardware import HardwareSettings, resolve_for_this_process
from embsweep.training.memory import describe_failure, release_memory
from embsweep.training.messages import Outcome, Reporter, TrialResult, TrialSpec, TrialStarted
from embsweep.training.mini_batch import Limits, resolve_loss
from embsweep.training.oom_retry import (
    OOM_RETRY_FACT,
    OomRetry,
    ReplayFilter,
    describe_retry,
    plan_retry,
    with_retry_size,
)
from embsweep.training.resume import (
    InvalidResumeState,
    ResumeState,
    RunFingerprint,
    acquire_fence,
    compute_fingerprint,
    fall_back_to_previous,
    find_state,
)
from embsweep.training.trainer import build_trainer, describe_training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialData:
    """Data of a trial, without the test split.

    `folds` split training and validation data differently, for cross-validation.
    """

    train: tuple[Pair, ...]
    validation: RetrievalSet
    folds: tuple[TrialData, ...] = ()

    def of(self, fold: int | None) -> TrialData:
        """Return the data of one fold, or the sweep's own split for None."""
        return self if fold is None else self.folds[fold]


def run_trial(
    job: TrialSpec,
    reporter: Reporter,
    data: TrialData,
    *,
    models: tuple[ModelCopy, ...] = (),
    memory_share: float = 1.0,
) -> None:
    """Train `job.config`, evaluate it on validation data and report to `reporter`.

    If this process belongs to torch's process group, the whole group runs the trial together. An exception in the trial
    is not raised: `reporter.finish` receives `Outcome.FAILED` with the reason, and the traceback is saved as
    `error.txt` in the trial's folder.

    Args:
        job: Trial to run.
        reporter: Receiver of the start, the evaluations and the end of the trial.
        data: Training and validation data; `job.fold` selects one of its folds.
        models: Copies of base models; `job.config.model` is loaded from its copy if there is one.
        memory_share: Share of a GPU's memory that the trial may use, 1.0 for all of it.
    """
    start, replay = _import_libraries(), ReplayFilter(reporter)
    try:
        trial = _Trial(job, data.of(job.fold), models, memory_share)
        result = _train_with_oom_retry(trial, replay, start)
    except Exception as error:
        log.exception("trial %d failed", job.number)
        _save_traceback(Path(job.folder), error)
        reason = describe_failure(error, with_retry_size(job.config, replay), retry=describe_retry(error, job, replay))
        result = TrialResult(Outcome.FAILED, None, None, None, time.time(), reason)
    release_memory()
    reporter.finish(result)


@dataclass(frozen=True)
class _Trial:
    """One trial with its inputs; `retry` is set after the trial ran out of memory."""

    job: TrialSpec
    data: TrialData
    models: tuple[ModelCopy, ...]
    memory_share: float
    retry: OomRetry | None = None


@dataclass(frozen=True)
class _StartTimes:
    """Start of a trial (wall clock and `perf_counter`) and the duration of its imports, in seconds."""

    started_at: float
    clock: float
    import_s: float


def _import_libraries() -> _StartTimes:
    """Import the slow libraries (about 10 s) and measure the time; a reused process has imported them already."""
    started_at, clock = time.time(), time.perf_counter()
    import sentence_transformers  # noqa: F401
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    return _StartTimes(started_at, clock, time.perf_counter() - clock)


def _train_with_oom_retry(trial: _Trial, replay: ReplayFilter, start: _StartTimes) -> TrialResult:
    """Train; if memory runs out, retry once with a smaller mini-batch, after the last evaluation."""
    try:
        return _train(trial, replay, start)
    except Exception as error:
        replay.retry = plan_retry(error, trial.job, replay)
        if replay.retry is None:
            raise
        log.warning("trial %d ran out of memory and is retried with %s", trial.job.number, replay.retry)
    release_memory()  # after the except block, because the traceback references the tensors
    retry_start = replace(start, clock=time.perf_counter())
    return _train(replace(trial, retry=replay.retry), replay, retry_start)


def _train(trial: _Trial, reporter: Reporter, start: _StartTimes) -> TrialResult:
    from transformers import set_seed

    from embsweep.models.builders import build_model

    config = trial.job.config
    set_seed(config.train.seed)
    folder = find_copy(config.model, trial.models)
    choice = resolve_for_this_process(config, folder)
    model = build_model(config.model, attention=choice.attention, folder=folder)
    return _train_model(trial, model, choice, reporter, start)


def _train_model(
    trial: _Trial, model: SentenceTransformer, choice: HardwareSettings, reporter: Reporter, start: _StartTimes
) -> TrialResult:
    from embsweep.models.losses import build_loss
    from embsweep.training.callback import EvaluationCallback

    job, data, config, group = trial.job, trial.data, trial.job.config, current_group()
    state, resume_warnings = _resume_or_start(trial, choice, group)
    limits = Limits(config.train.batch_size // group.size, choice.precision, trial.memory_share)
    resolved = resolve_loss(_with_resumed_size(config, state), model, data.train, limits)
    loss = build_loss(resolved.loss, config.matryoshka, model, is_shared=group.size > 1)
    trainer = build_trainer(job, model, loss, data.train, choice)
    state = replace(state, mini_batch_size=resolved.size)
    callback = EvaluationCallback(job, trainer, data.validation, reporter, state)
    callback.attach_loss(loss)
    trainer.add_callback(callback)
    resume_warnings |= {OOM_RETRY_FACT: state.oom_retry} if state.oom_retry else {}
    facts = {**choice.facts(), **resolved.facts, **describe_training(trainer, config), **resume_warnings}
    setup_s = time.perf_counter() - start.clock
    earlier = state.reports[:-1]
    reporter.start(
        TrialStarted(os.getpid(), platform.node(), start.started_at, setup_s, start.import_s, facts, earlier)
    )
    if not state.reports:
        trainer.train()
    elif not callback.resume():
        trainer.train(resume_from_checkpoint=str(state.folder))
    return callback.to_result()


def _resume_or_start(
    trial: _Trial, choice: HardwareSettings, group: ProcessGroup
) -> tuple[ResumeState, dict[str, object]]:
    """Return an earlier attempt's state or a new one, and the reason if the newest state is unusable.

    The first process decides for the whole group.
    """
    found: tuple[ResumeState, dict[str, object]] | None = None
    if group.is_first:
        acquire_fence(trial.job)
        found = _find_resume_state(trial, compute_fingerprint(trial.job, choice, group))
    return cast("tuple[ResumeState, dict[str, object]]", group.broadcast(found))


def _find_resume_state(trial: _Trial, setup: RunFingerprint) -> tuple[ResumeState, dict[str, object]]:
    job, retry = trial.job, trial.retry
    resume_warnings: dict[str, object] = {}
    try:
        state = find_state(job, setup)
    except InvalidResumeState as error:
        if retry is not None:  # an older state would repeat reports of this attempt
            raise
        state = fall_back_to_previous(job, setup)
        resume_warnings = {"restarted" if state is None else "used_previous_state": str(error)}
        log.warning("trial %d %s: %s", job.number, "starts over" if state is None else "uses earlier state", error)
    state = state or ResumeState(job.state, setup)
    if retry is not None:
        state = replace(state, mini_batch_size=retry.after, oom_retry=str(retry))
    return state, resume_warnings


def _with_resumed_size(config: TrialConfig, state: ResumeState) -> TrialConfig:
    """Return `config` with the mini-batch size of the resumed state; another size would draw other dropout masks."""
    if state.mini_batch_size is None:
        return config
    return config.model_copy(update={"loss": config.loss.model_copy(update={"mini_batch_size": state.mini_batch_size})})


def _save_traceback(folder: Path, error: Exception) -> None:
    """Save the traceback in the trial's folder (a worker's log is hard to find); the ledger has the error message."""
    with contextlib.suppress(OSError):  # a full disk must not hide the reason of the failure
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(describe_frames(error), "utf-8", errors="backslashreplace")
