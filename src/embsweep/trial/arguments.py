"""From the training configuration to the trainer's arguments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.training import TrainConfig
from embsweep.trial.hardware import Choice, inspect_accelerator, resolve_precision, resolve_tf32
from embsweep.trial.precision import set_tf32

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainingArguments


def build_arguments(
    config: TrainConfig, folder: Path, *, choice: Choice | None = None, workers: int = 1
) -> SentenceTransformerTrainingArguments:
    """Arguments under which the trainer neither evaluates, saves nor reports: the rungs do.

    `choice` is what `choose_hardware` made of the configuration; None chooses here, for a loss that rules nothing out.
    Several workers share each batch of `config.batch_size`, so that their number changes no result.
    """
    import torch
    from sentence_transformers import SentenceTransformerTrainingArguments

    choice = choice or _choose_alone(config)
    set_tf32(choice.tf32)
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
        # BERT and XLM-R carry a pooler that no embedding passes through: without looking for it, workers wait for ever.
        ddp_find_unused_parameters=True if workers > 1 else None,
    )
    # A trial has one GPU at most: where a process sees several, the trainer would multiply the batch size by their
    # number and split each batch among them, and with it the in-batch negatives.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


def _choose_alone(config: TrainConfig) -> Choice:
    """Without a model and a loss, `auto` recomputes nothing."""
    machine = inspect_accelerator()
    precision, tf32 = resolve_precision(config.precision, machine), resolve_tf32(config.tf32, machine)
    return Choice(precision, tf32, gradient_checkpointing=config.gradient_checkpointing is True)
