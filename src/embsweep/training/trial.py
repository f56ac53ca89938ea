"""Run one trial: build, train, evaluate at the rungs, keep the best weights, report."""

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
from embsweep.models.snapshot import Snapshot, localise
from embsweep.models.token_table import TokenTable
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
    """What a trial may see: never the test split. `folds` cut training and validation anew, for cross-validation."""

    train: tuple[Pair, ...]
    validation: RetrievalSet
    folds: tuple[TrialData, ...] = ()

    def of(self, fold: int | None) -> TrialData:
        """The data of one fold, or the sweep's own split."""
        return self if fold is None else self.folds[fold]


def run_trial(
    job: TrialSpec,
    reporter: Reporter,
    data: TrialData,
    *,
    tokens: tuple[TokenTable, ...] = (),
    models: tuple[Snapshot, ...] = (),
    memory_share: float = 1.0,
) -> None:
    """Train `job.config` on `data.train`, measured on `data.validation`; the reporter hears everything.

    In a process of torch's process group the trial is that of the whole group. `tokens` and `models` spare it the
    tokenizer and the hub where they fit; `memory_share` is its share of a GPU. Never raises for a failing trial: the
    reporter's `finish` gets FAILED with the reason.
    """
    start, heard = _import_libraries(), ReplayFilter(reporter)
    try:
        trial = _Trial(job, data.of(job.fold), tokens, models, memory_share)
        result = _train_within_memory(trial, heard, start)
    except Exception as error:
        log.exception("trial %d failed", job.number)
        _save_traceback(Path(job.folder), error)
        reason = describe_failure(error, with_retry_size(job.config, heard), retry=describe_retry(error, job, heard))
        result = TrialResult(Outcome.FAILED, None, None, None, time.time(), reason)
    release_memory()
    reporter.finish(result)


@dataclass(frozen=True)
class _Trial:
    """One trial with all it was given."""

    job: TrialSpec
    data: TrialData
    tokens: tuple[TokenTable, ...]
    models: tuple[Snapshot, ...]
    memory_share: float
    retry: OomRetry | None = None


@dataclass(frozen=True)
class _LoadedModel:
    """The model, with what the hardware decided and whether its tokens come from a table or the tokenizer."""

    model: SentenceTransformer
    choice: HardwareSettings
    tokens: str


@dataclass(frozen=True)
class _StartTimes:
    """When a trial began (wall clock and `perf_counter`, seconds) and what its imports took."""

    started_at: float
    clock: float
    import_s: float


def _import_libraries() -> _StartTimes:
    """Pay the imports (about 10 s) where they can be measured; a warm process has paid them."""
    started_at, clock = time.time(), time.perf_counter()
    import sentence_transformers  # noqa: F401
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    return _StartTimes(started_at, clock, time.perf_counter() - clock)


def _train_within_memory(trial: _Trial, heard: ReplayFilter, start: _StartTimes) -> TrialResult:
    """`_train`, and where memory runs out once more with less of it, behind the last evaluation."""
    try:
        return _train(trial, heard, start)
    except Exception as error:
        heard.retry = plan_retry(error, trial.job, heard)
        if heard.retry is None:
            raise
        log.warning("trial %d ran out of memory and is tried again with %s", trial.job.number, heard.retry)
    release_memory()  # after the except block: the traceback holds the tensors
    again = replace(start, clock=time.perf_counter())
    return _train(replace(trial, retry=heard.retry), heard, again)


def _train(trial: _Trial, reporter: Reporter, start: _StartTimes) -> TrialResult:
    from transformers import set_seed

    from embsweep.models.registry import build_model
    from embsweep.models.token_lookup import use_tokens

    config = trial.job.config
    set_seed(config.train.seed)
    base = localise(config.model, trial.models)
    choice = resolve_for_this_process(config.model_copy(update={"model": base}))
    model = build_model(base, attention=choice.attention)
    with use_tokens(model, trial.tokens) as is_looked_up:
        ready = _LoadedModel(model, choice, "table" if is_looked_up else "tokenizer")
        return _train_model(trial, ready, reporter, start)


def _train_model(trial: _Trial, ready: _LoadedModel, reporter: Reporter, start: _StartTimes) -> TrialResult:
    from embsweep.models.losses import build_loss
    from embsweep.training.callback import EvaluationCallback

    job, data, config, group = trial.job, trial.data, trial.job.config, current_group()
    model, choice = ready.model, ready.choice
    state, resume_warnings = _resume_or_start(trial, choice, group)
    limits = Limits(config.train.batch_size // group.size, choice.precision, trial.memory_share)
    settled = resolve_loss(_with_resumed_size(config, state), model, data.train, limits)
    loss = build_loss(settled.loss, config.matryoshka, model, is_shared=group.size > 1)
    trainer = build_trainer(job, model, loss, data.train, choice)
    state = replace(state, mini_batch_size=settled.size)
    rungs = EvaluationCallback(job, trainer, data.validation, reporter, state)
    rungs.attach_loss(loss)
    trainer.add_callback(rungs)
    resume_warnings |= {OOM_RETRY_FACT: state.oom_retry} if state.oom_retry else {}
    facts = {
        **choice.facts(),
        **settled.facts,
        **describe_training(trainer, config),
        **resume_warnings,
        "tokens": ready.tokens,
    }
    setup_s = time.perf_counter() - start.clock
    earlier = state.reports[:-1]
    reporter.start(
        TrialStarted(os.getpid(), platform.node(), start.started_at, setup_s, start.import_s, facts, earlier)
    )
    if not state.reports:
        trainer.train()
    elif not rungs.resume():
        trainer.train(resume_from_checkpoint=str(state.folder))
    return rungs.to_result()


def _resume_or_start(
    trial: _Trial, choice: HardwareSettings, group: ProcessGroup
) -> tuple[ResumeState, dict[str, object]]:
    """What an earlier attempt left, or a beginning, decided by the first process for all; and why it starts over."""
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
        if retry is not None:  # what was reported in this attempt is not said again
            raise
        state = fall_back_to_previous(job, setup)
        resume_warnings = {"restarted" if state is None else "used_previous_state": str(error)}
        log.warning("trial %d %s: %s", job.number, "starts over" if state is None else "goes one step back", error)
    state = state or ResumeState(job.state, setup)
    if retry is not None:
        state = replace(state, mini_batch_size=retry.after, oom_retry=str(retry))
    return state, resume_warnings


def _with_resumed_size(config: TrialConfig, state: ResumeState) -> TrialConfig:
    """Another mini-batch draws other dropout masks: a trial that goes on keeps the one that was chosen for it."""
    if state.mini_batch_size is None:
        return config
    return config.model_copy(update={"loss": config.loss.model_copy(update={"mini_batch_size": state.mini_batch_size})})


def _save_traceback(folder: Path, error: Exception) -> None:
    """A worker's log is hard to find: the traceback stays with the trial. What the error said is in the ledger."""
    with contextlib.suppress(OSError):  # a full disk must not hide the reason
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(describe_frames(error), "utf-8", errors="backslashreplace")
