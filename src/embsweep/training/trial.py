"""Run one trial: load the model, train it, evaluate it at the rungs, keep the best weights, report."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from embsweep.core.distributed import current_group
from embsweep.core.gpu_errors import is_context_broken
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.models.copies import ModelCopy, find_copy
from embsweep.training.failures import describe_frames
from embsweep.training.hardware import HardwareSettings, require_gpu, resolve_for_this_process
from embsweep.training.memory import describe_failure, is_training_out_of_memory, release_memory
from embsweep.training.messages import Reporter, TrialResult, TrialSpec, TrialStarted
from embsweep.training.resume import InvalidResumeState, ResumeState, acquire_fence, compute_fingerprint, find_state

log = logging.getLogger(__name__)

Facts = dict[str, object]


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
    needs_gpu: bool = False,
) -> TrialResult:
    """Train `job.config`, evaluate it on validation data, report to `reporter` and return the result.

    If this process belongs to torch's process group, the whole group runs the trial together. An exception in the trial
    is not raised: the result is `Outcome.FAILED` with the reason, and the traceback is saved as `error.txt` in the
    trial's folder. If the result says `context_broken`, the caller must run no other trial in this process.

    Args:
        job: Trial to run.
        reporter: Receiver of the start and the evaluations.
        data: Training and validation data; `job.fold` selects one of its folds.
        models: Copies of base models; `job.config.model` is loaded from its copy if there is one.
        memory_share: Share of a GPU's memory that the trial may use, 1.0 for all of it.
        needs_gpu: Whether the trial was given a GPU; it fails if this process sees none.
    """
    try:
        if needs_gpu:
            require_gpu()
        result = _train(job, reporter, data.of(job.fold), models, memory_share)
    except Exception as error:
        log.exception("trial %d failed", job.number)
        _save_traceback(Path(job.folder), error)
        result = TrialResult.failed(
            describe_failure(error, job.config),
            out_of_memory=is_training_out_of_memory(error),
            context_broken=is_context_broken(error),
        )
    release_memory()  # after the except block, because the traceback references the tensors
    return result


def _train(
    job: TrialSpec,
    reporter: Reporter,
    data: TrialData,
    models: tuple[ModelCopy, ...],
    memory_share: float,
) -> TrialResult:
    started_at, clock = time.time(), time.perf_counter()
    # The slow libraries take about 10 s; a reused process has imported them already.
    from transformers import set_seed

    from embsweep.training.callback import EvaluationCallback
    from embsweep.training.trainer import build_training

    import_s = time.perf_counter() - clock
    config = job.config
    folder = find_copy(config.model, models)
    choice = resolve_for_this_process(config, folder, memory_share=memory_share)
    state, warnings = _resume_or_start(job, choice)
    set_seed(config.train.seed)
    trainer, loss, facts = build_training(job, data.train, choice, folder=folder, memory_share=memory_share)
    callback = EvaluationCallback(job, trainer, data.validation, reporter, state)
    callback.attach_loss(loss)
    trainer.add_callback(callback)
    setup_s, host, facts = time.perf_counter() - clock, platform.node(), {**facts, **warnings}
    reporter.start(TrialStarted(os.getpid(), host, started_at, setup_s, import_s, facts, state.reports[:-1]))
    callback.train()
    return callback.to_result()


def _resume_or_start(job: TrialSpec, choice: HardwareSettings) -> tuple[ResumeState, Facts]:
    """Return an earlier attempt's state or a new one, and the reason if the earlier one is unusable.

    The first process decides for the whole group.
    """
    group = current_group()
    found: tuple[ResumeState, Facts] | None = None
    if group.is_first:
        acquire_fence(job)
        setup = compute_fingerprint(job, choice, group)
        try:
            found = find_state(job, setup) or ResumeState(job.state, setup), {}
        except InvalidResumeState as error:
            log.warning("trial %d starts over: %s", job.number, error)
            found = ResumeState(job.state, setup), {"restarted": str(error)}
    return cast("tuple[ResumeState, Facts]", group.broadcast(found))


def _save_traceback(folder: Path, error: Exception) -> None:
    """Save the traceback in the trial's folder (a worker's log is hard to find); the ledger has the error message."""
    with contextlib.suppress(OSError):  # a full disk must not hide the reason of the failure
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(describe_frames(error), "utf-8", errors="backslashreplace")
