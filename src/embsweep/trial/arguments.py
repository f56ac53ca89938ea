"""From the training configuration to the trainer's arguments: the one place where hardware decides a setting."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.training import TrainConfig
from embsweep.errors import TrialFailed
from embsweep.trial.precision import set_tf32

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainingArguments


def build_arguments(config: TrainConfig, folder: Path) -> SentenceTransformerTrainingArguments:
    """Arguments under which the trainer neither evaluates, saves nor reports: the rungs do."""
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments

    precision = resolve_precision(config.precision)
    set_tf32(resolve_tf32(config.tf32))
    arguments = SentenceTransformerTrainingArguments(
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
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        batch_sampler=config.batch_sampler,
        gradient_checkpointing=config.gradient_checkpointing,
        use_cpu=not torch.cuda.is_available(),
        seed=config.seed,
        data_seed=config.seed,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
    )
    # A trial has one GPU at most: where a process sees several, the trainer would multiply the batch size by their
    # number and split each batch among them, and with it the in-batch negatives.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def resolve_tf32(wanted: bool | None) -> bool | None:
    """`wanted` where there is a GPU; None elsewhere: on some CPUs the setting would change the arithmetic as well."""
    import torch

    return wanted if torch.cuda.is_available() else None


def resolve_precision(wanted: str) -> str:
    """`auto` is bf16 where the GPU has it, else fp32. TrialFailed where a wanted precision does not exist here."""
    import torch

    has_gpu = torch.cuda.is_available()
    if wanted == "auto":
        return "bf16" if has_gpu and torch.cuda.is_bf16_supported() else "fp32"
    if wanted == "fp16" and not has_gpu:
        raise TrialFailed("train.precision=fp16 needs a GPU; accepted here: auto, fp32, bf16")
    return wanted
