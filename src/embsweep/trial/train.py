"""Run one trial: build, train, evaluate at the rungs, keep the best weights, report."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import platform
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config import TrialConfig
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.errors import EmbsweepError
from embsweep.trial.reporter import Outcome, Reporter, Started, TrialJob, TrialResult

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from torch import nn

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


def run_trial(job: TrialJob, reporter: Reporter, data: TrialData) -> None:
    """Train `job.config` on `data.train`, measured on `data.validation`; the reporter hears everything.

    Never raises for a failing trial: the reporter's `finish` gets FAILED with the reason.
    """
    start = _import_libraries()
    try:
        result = _train(job, reporter, data.of(job.fold), start)
    except Exception as error:
        log.exception("trial %d failed", job.number)
        _keep_traceback(Path(job.folder))
        result = _failure(error)
    release_memory()
    reporter.finish(result)


@dataclass(frozen=True)
class _Start:
    """When a trial began (wall clock and `perf_counter`, seconds) and what its imports took."""

    started_at: float
    clock: float
    import_s: float


def _import_libraries() -> _Start:
    """Pay the imports (about 10 s) where they can be measured; a warm process has paid them."""
    started_at, clock = time.time(), time.perf_counter()
    import sentence_transformers  # noqa: F401
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    return _Start(started_at, clock, time.perf_counter() - clock)


def _train(job: TrialJob, reporter: Reporter, data: TrialData, start: _Start) -> TrialResult:
    from transformers import set_seed

    from embsweep.model.base import build_model
    from embsweep.model.loss import build_loss
    from embsweep.trial.rungs import RungCallback

    config = job.config
    set_seed(config.train.seed)
    model = build_model(config.model)
    loss = build_loss(config.loss, config.matryoshka, model)
    rungs = RungCallback(job, model, data.validation, reporter)
    rungs.watch(loss)
    trainer = _build_trainer(config, model, loss, data, Path(job.folder))
    trainer.add_callback(rungs)
    setup_s = time.perf_counter() - start.clock
    reporter.start(Started(os.getpid(), platform.node(), start.started_at, setup_s, start.import_s, _facts(trainer)))
    trainer.train()
    return rungs.to_result()


def _build_trainer(
    config: TrialConfig, model: SentenceTransformer, loss: nn.Module, data: TrialData, folder: Path
) -> SentenceTransformerTrainer:
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from transformers import PrinterCallback

    from embsweep.trial.arguments import build_arguments

    columns = {"anchor": [p.anchor for p in data.train], "positive": [p.positive for p in data.train]}
    if data.train[0].negative is not None:
        columns["negative"] = [p.negative or "" for p in data.train]
    trainer = SentenceTransformerTrainer(
        model=model,
        args=build_arguments(config.train, folder / "trainer"),
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, into the progress
    return trainer


def _facts(trainer: SentenceTransformerTrainer) -> dict[str, object]:
    """What was chosen by the hardware or follows from the data, for the record."""
    args = trainer.args
    return {
        "device": str(args.device),
        "bf16": args.bf16,
        "fp16": args.fp16,
        "train_pairs": len(trainer.train_dataset),  # type: ignore[arg-type]
        "in_batch_negatives": args.per_device_train_batch_size - 1,
    }


def _keep_traceback(folder: Path) -> None:
    """A worker's log is hard to find: the traceback stays with the trial."""
    with contextlib.suppress(OSError):  # a full disk must not hide the reason
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.txt").write_text(traceback.format_exc(), "utf-8")


def release_memory() -> None:
    """Give back what a model took that nobody refers to any more: this process stays, other trials need the card.

    A trainer and its model refer to each other, so that only the collector frees them.
    """
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _failure(error: Exception) -> TrialResult:
    reason = str(error) if isinstance(error, EmbsweepError) else f"{type(error).__name__}: {error}"
    return TrialResult(Outcome.FAILED, None, None, None, time.time(), reason)
