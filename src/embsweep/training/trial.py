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

from embsweep.core.distributed import current_group
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.models.copies import ModelCopy, find_copy
from embsweep.training.failures import describe_frames
from embsweep.training.hardware import HardwareSettings, resolve_for_this_process
from embsweep.training.memory import describe_failure, is_training_out_of_memory, release_memory
from embsweep.training.messages import Reporter, TrialResult, TrialSpec, TrialStarted
from embsweep.training.mini_batch import Limits, resolve_loss
from embsweep.training.resume import InvalidResumeState, ResumeState, acquire_fence, compute_fingerprint, find_state
from embsweep.training.trainer import build_trainer, describe_training

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embsweep.training.callback import EvaluationCallback

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
) -> TrialResult:
    """Train `job.config`, evaluate it on validation data, report to `reporter` and return the result.

    If this process belongs to torch's process group, the whole group runs the trial together. An exception in the trial
    is not raised: the result is `Outcome.FAILED` with the reason, and the traceback is saved as `error.txt` in the
    trial's folder.

    Args:
        job: Trial to run.
        reporter: Receiver of the start and the evaluations.
        data: Training and validation data; `job.fold` selects one of its folds.
        models: Copies of base models; `job.config.model` is loaded from its copy if there is one.
        memory_share: Share of a GPU's memory that the trial may use, 1.0 for all of it.
    """
    try:
        result = _train(job, reporter, data.of(job.fold), models, memory_share)
    except Exception as error:
        log.exception("trial %d failed", job.number)
        _save_traceback(Path(job.folder), error)
        out_of_memory = is_training_out_of_memory(error)
        result = TrialResult.failed(describe_failure(error, job.config), out_of_memory=out_of_memory)
    release_memory()  # after the except block, because the traceback references the tensors
    return result


def _train(
    job: TrialSpec,
    reporter: Reporter,
    data: TrialData,
    models: tuple[ModelCopy, ...],
    memory_share: float,
) -> TrialResult:
    clock, started = time.perf_counter(), _import_libraries()
    from transformers import set_seed

    from embsweep.models.builders import build_model

    config = job.config
    set_seed(config.train.seed)
    folder = find_copy(config.model, models)
    choice = resolve_for_this_process(config, folder)
    model = build_model(config.model, attention=choice.attention, folder=folder)
    callback, facts = _prepare(job, reporter, data, model, choice, memory_share)
    setup_s = time.perf_counter() - clock
    reporter.start(replace(started, setup_s=setup_s, facts=facts, earlier=callback.earlier))
    callback.train()
    return callback.to_result()


def _import_libraries() -> TrialStarted:
    """Import the slow libraries (about 10 s) and measure the time; a reused process has imported them already."""
    started_at, clock = time.time(), time.perf_counter()
    import sentence_transformers  # noqa: F401
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    import_s = time.perf_counter() - clock
    return TrialStarted(os.getpid(), platform.node(), started_at, setup_s=import_s, import_s=import_s)


def _prepare(
    job: TrialSpec,
    reporter: Reporter,
    data: TrialData,
    model: SentenceTransformer,
    choice: HardwareSettings,
    memory_share: float,
) -> tuple[EvaluationCallback, Facts]:
    """Return the callback that controls the training, added to its trainer, and the facts to record of the trial."""
    from embsweep.models.losses import build_loss
    from embsweep.training.callback import EvaluationCallback

    config, group = job.config, current_group()
    state, warnings = _resume_or_start(job, choice)
    limits = Limits(config.train.batch_size // group.size, choice.precision, memory_share)
    loss_config, loss_facts = resolve_loss(config, model, data.train, limits)
    loss = build_loss(loss_config, config.matryoshka, model, is_shared=group.size > 1)
    trainer = build_trainer(job, model, loss, data.train, choice)
    callback = EvaluationCallback(job, trainer, data.validation, reporter, state)
    callback.attach_loss(loss)
    trainer.add_callback(callback)
    return callback, {**choice.facts(), **loss_facts, **describe_training(trainer, config), **warnings}


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
