"""Build the trainer of one trial and its arguments, and describe the training for the record."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config import TrialConfig
from embsweep.config.training import TrainConfig
from embsweep.core.distributed import current_group
from embsweep.core.precision import set_tf32
from embsweep.data.collection import Pair
from embsweep.training.hardware import HardwareSettings
from embsweep.training.messages import TrialSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from torch import nn


def build_arguments(
    config: TrainConfig, folder: Path, *, choice: HardwareSettings, workers: int = 1
) -> SentenceTransformerTrainingArguments:
    """Return arguments for a trainer that does not evaluate, save or report; `EvaluationCallback` does this at rungs.

    Sets torch's tf32 mode of this process.

    Args:
        config: Training configuration.
        folder: Output folder of the trainer.
        choice: Hardware settings from `resolve_hardware`.
        workers: Number of processes that share each batch of `config.batch_size` pairs; it does not change the results.
    """
    import torch

    from embsweep.training.trainer_classes import SingleGpuArguments

    set_tf32(choice.tf32)
    return SingleGpuArguments(
        output_dir=str(folder),
        num_train_epochs=config.epochs,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup,  # below 1: a fraction of the schedule
        lr_scheduler_type=config.scheduler,
        weight_decay=config.weight_decay,
        optim=config.optimizer,
        max_grad_norm=config.max_grad_norm,
        bf16=choice.precision == "bf16",
        fp16=choice.precision == "fp16",
        batch_sampler=config.batch_sampler,
        gradient_checkpointing=choice.gradient_checkpointing,
        use_cpu=not torch.cuda.is_available(),
        seed=config.seed,
        data_seed=config.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"split_batches": workers > 1},
        # BERT and XLM-R have a pooler that no embedding uses: without this, workers wait forever for its gradients.
        ddp_find_unused_parameters=True if workers > 1 else None,
    )


def build_trainer(
    job: TrialSpec, model: SentenceTransformer, loss: nn.Module, pairs: Sequence[Pair], choice: HardwareSettings
) -> SentenceTransformerTrainer:
    """Return a trainer that does not evaluate, save or print.

    If this process belongs to a process group, the trainer trains together with the other processes.

    Args:
        job: Trial to train; the trainer's output folder is a subfolder of `job.folder`.
        model: Model to train, in place.
        loss: Loss module that wraps `model`.
        pairs: Training pairs, at least one. If the first pair has a negative, missing ones become empty texts.
        choice: Hardware settings from `resolve_hardware`.
    """
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer
    from transformers import PrinterCallback

    from embsweep.training.trainer_classes import EpochBatchSampler

    _leave_environment_alone()
    folder, workers = Path(job.folder) / "trainer", current_group().size
    arguments = build_arguments(job.config.train, folder, choice=choice, workers=workers)
    if job.config.train.batch_sampler == "batch_sampler":
        arguments.batch_sampler = EpochBatchSampler
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(to_columns(pairs)),
        loss=loss,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, between the progress lines
    return trainer


def to_columns(pairs: Sequence[Pair]) -> dict[str, list[str]]:
    """Return the texts of pairs by column; if the first pair has a negative, missing ones are empty texts."""
    columns = {"anchor": [p.anchor for p in pairs], "positive": [p.positive for p in pairs]}
    if pairs[0].negative is not None:
        columns["negative"] = [p.negative or "" for p in pairs]
    return columns


def _leave_environment_alone() -> None:
    """Keep accelerate from clearing `os.environ`, which it does briefly to compare settings with their defaults.

    Ray's threads would see the empty environment. None of the classes compared here reads environment variables
    (`GradientAccumulationPlugin`, `InitProcessGroupKwargs`, accelerate 1.15).
    """
    from accelerate.utils import environment  # type: ignore[import-untyped]

    environment.clear_environment = nullcontext


def describe_training(trainer: SentenceTransformerTrainer, config: TrialConfig) -> dict[str, object]:
    """Return facts for the trial's record that depend on data, device and number of workers: plain values by name."""
    from embsweep.models.attention import read_attention

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
        "learning_rate_refers_to": f"one step over {effective} pairs, with any number of workers",
    }
