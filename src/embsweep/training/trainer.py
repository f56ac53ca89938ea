"""Build the trainer of one trial, its model and its arguments. Import this module only where a model is trained.

It imports torch, and describes the training for the record.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import environment  # type: ignore[import-untyped]
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.data import RandomSampler
from transformers import PrinterCallback

from embsweep.config import TrialConfig
from embsweep.config.training import TrainConfig
from embsweep.core.distributed import current_group
from embsweep.core.precision import set_deterministic, set_tf32
from embsweep.data.collection import Pair
from embsweep.models import builders, losses
from embsweep.models.attention import read_attention
from embsweep.models.prompts import find_column_prompts
from embsweep.training.hardware import HardwareSettings
from embsweep.training.messages import TrialSpec
from embsweep.training.mini_batch import Limits, resolve_loss, to_columns


class EpochBatchSampler(DefaultBatchSampler):
    """Default sampler of sentence-transformers, but with a new seed for every epoch (`seed + epoch`).

    The library's sampler continues one generator over all epochs, so that a trial resumed in a later epoch would see
    other batches than an uninterrupted one. Here the order depends only on the seed and the epoch. The first epoch
    equals the library's.
    """

    def __init__(self, dataset: Any, **options: Any) -> None:
        super().__init__(RandomSampler(dataset, generator=options["generator"]), **options)

    def __iter__(self) -> Iterator[list[int]]:
        if self.generator is not None:
            self.generator.manual_seed(self.seed + self.epoch)
        yield from super().__iter__()


class SingleGpuArguments(SentenceTransformerTrainingArguments):
    """Arguments for at most one GPU per process.

    If a process sees several, the trainer would multiply the batch size by their number and split each batch among
    them, and thereby the in-batch negatives.
    """

    @property
    def n_gpu(self) -> int:
        """Number of GPUs that the trainer uses: 0 or 1."""
        return min(int(super().n_gpu), 1)


def build_arguments(
    config: TrainConfig,
    folder: Path,
    *,
    choice: HardwareSettings,
    workers: int = 1,
    prompts: Mapping[str, str] | None = None,
) -> SentenceTransformerTrainingArguments:
    """Return arguments for a trainer that does not evaluate, save or report; `EvaluationCallback` does this at rungs.

    Sets the tf32 mode and the deterministic mode of this process.

    Args:
        config: Training configuration.
        folder: Output folder of the trainer.
        choice: Hardware settings from `resolve_hardware`.
        workers: Number of processes that share each batch of `config.batch_size` pairs; it does not change the results.
        prompts: Column of the training data → its prompt, if it has one.
    """
    set_tf32(choice.tf32)
    set_deterministic(config.deterministic)
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
        prompts=dict(prompts) if prompts else None,
        dataloader_pin_memory=torch.cuda.is_available(),
        accelerator_config={"split_batches": workers > 1},
        # BERT and XLM-R have a pooler that no embedding uses: without this, workers wait forever for its gradients.
        ddp_find_unused_parameters=True if workers > 1 else None,
    )


def _leave_environment_alone() -> None:
    """Keep accelerate from clearing `os.environ`, which it does briefly to compare settings with their defaults.

    Ray's threads would see the empty environment. None of the classes compared here reads environment variables
    (`GradientAccumulationPlugin`, `InitProcessGroupKwargs`, accelerate 1.15).
    """
    environment.clear_environment = nullcontext


def build_trainer(
    job: TrialSpec, model: SentenceTransformer, loss: torch.nn.Module, pairs: Sequence[Pair], choice: HardwareSettings
) -> SentenceTransformerTrainer:
    """Return a trainer that does not evaluate, save or print.

    If this process belongs to a process group, the trainer trains together with the other processes.

    Args:
        job: Trial to train; the trainer's output folder is a subfolder of `job.folder`.
        model: Model to train, in place.
        loss: Loss module that wraps `model`.
        pairs: Training pairs, at least one, all with the same number of hard negatives.
        choice: Hardware settings from `resolve_hardware`.
    """
    _leave_environment_alone()
    folder, workers = Path(job.folder) / "trainer", current_group().size
    columns = to_columns(pairs)
    prompts = find_column_prompts(model, columns)
    arguments = build_arguments(job.config.train, folder, choice=choice, workers=workers, prompts=prompts)
    if job.config.train.batch_sampler == "batch_sampler":
        arguments.batch_sampler = EpochBatchSampler
    trainer = SentenceTransformerTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_dict(columns),
        loss=loss,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, between the progress lines
    return trainer


def describe_training(trainer: SentenceTransformerTrainer, config: TrialConfig) -> dict[str, object]:
    """Return facts for the trial's record that depend on data, device and number of workers: plain values by name."""
    train, workers = config.train, current_group().size
    effective, pairs = train.batch_size * train.accumulation, len(trainer.train_dataset)  # type: ignore[arg-type]
    return {
        "device": str(trainer.args.device),
        "bf16": trainer.args.bf16,
        "fp16": trainer.args.fp16,
        "attention": read_attention(trainer.model) or "none",
        **{f"{role}_prompt": prompt for role in ("query", "document") if (prompt := trainer.model.prompts.get(role))},
        "train_pairs": pairs,
        "workers": workers,
        "batch_per_worker": train.batch_size // workers,
        "in_batch_negatives": train.batch_size - 1,
        "effective_batch": effective,
        "learning_rate_refers_to": f"one step over {effective} pairs, with any number of workers",
    }


def build_training(
    job: TrialSpec, pairs: Sequence[Pair], choice: HardwareSettings, *, folder: Path | None, memory_share: float
) -> tuple[SentenceTransformerTrainer, torch.nn.Module, dict[str, object]]:
    """Load a trial's model and build everything that trains it.

    Args:
        job: Trial to train.
        pairs: Training pairs, at least one.
        choice: Hardware settings from `resolve_hardware`.
        folder: Copy of the base model's files; None for the model's own place.
        memory_share: Share of a GPU's memory that the trial may use, 1.0 for all of it.

    Returns:
        The trainer, its loss module, and facts for the trial's record.
    """
    config, group = job.config, current_group()
    model = builders.build_model(config.model, attention=choice.attention, folder=folder)
    limits = Limits(config.train.batch_size // group.size, choice.precision, memory_share)
    loss_config, loss_facts = resolve_loss(config, model, pairs, limits)
    loss = losses.build_loss(loss_config, config.matryoshka, model, is_shared=group.size > 1)
    trainer = build_trainer(job, model, loss, pairs, choice)
    return trainer, loss, {**choice.facts(), **loss_facts, **describe_training(trainer, config)}
