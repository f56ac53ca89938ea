"""The trainer of one trial, and what is on record about the training."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config import TrialConfig
from embsweep.data.collection import Pair
from embsweep.trial.group import current_group
from embsweep.trial.hardware import Choice
from embsweep.trial.reporter import TrialJob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from torch import nn


def build_trainer(
    job: TrialJob, model: SentenceTransformer, loss: nn.Module, pairs: Sequence[Pair], choice: Choice
) -> SentenceTransformerTrainer:
    """A trainer that neither evaluates, saves nor prints; in a process group it trains with the others."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from transformers import PrinterCallback

    from embsweep.trial.arguments import build_arguments
    from embsweep.trial.shuffling import EpochBatchSampler

    _leave_environment_alone()
    columns = {"anchor": [p.anchor for p in pairs], "positive": [p.positive for p in pairs]}
    if pairs[0].negative is not None:
        columns["negative"] = [p.negative or "" for p in pairs]
    folder, workers = Path(job.folder) / "trainer", current_group().size
    arguments = build_arguments(job.config.train, folder, choice=choice, workers=workers)
    if job.config.train.batch_sampler == "batch_sampler":
        arguments.batch_sampler = EpochBatchSampler
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, into the progress
    return trainer


def _leave_environment_alone() -> None:
    """Accelerate empties the whole environment for a moment, to compare with its defaults: never beside Ray's threads.

    None of what is compared here reads it (`GradientAccumulationPlugin`, `InitProcessGroupKwargs`, 1.15).
    """
    from accelerate.utils import environment  # type: ignore[import-untyped]

    environment.clear_environment = nullcontext


def describe_training(trainer: SentenceTransformerTrainer, config: TrialConfig) -> dict[str, object]:
    """What follows from the data, the device and the number of workers: plain values by name."""
    from embsweep.model.attention import read_attention

    train, workers = config.train, current_group().size
    effective, pairs = train.batch_size * train.accumulation, len(trainer.train_dataset)  # type: ignore[arg-type]
    return {
        "device": str(trainer.args.device),
        "bf16": trainer.args.bf16,
        "fp16": trainer.args.fp16,
        "attention": read_attention(trainer.model) or "none",
        "train_pairs": pairs,
        "workers": workers,
        "batch_per_worker": train.batch_size // workers,
        "in_batch_negatives": train.batch_size - 1,
        "effective_batch": effective,
        "learning_rate_refers_to": f"one step over {effective} pairs, whatever the number of workers",
    }
