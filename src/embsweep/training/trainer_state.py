"""Files from which `Trainer.train(resume_from_checkpoint=…)` resumes, apart from the model's.

transformers 5.23 reads these contents, but writes them in private methods only.
"""

from __future__ import annotations

import io
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainer


def write_trainer_state(trainer: SentenceTransformerTrainer, folder: Path) -> None:
    """Write the state of optimizer, schedule, gradient scaler and trainer to `folder`."""
    import torch
    from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME

    owners = {
        OPTIMIZER_NAME: trainer.optimizer,
        SCHEDULER_NAME: trainer.lr_scheduler,
        SCALER_NAME: trainer.accelerator.scaler,  # None unless it trains in fp16
    }
    for name, owner in owners.items():
        if owner is not None:
            torch.save(owner.state_dict(), folder / name)
    trainer.state.save_to_json(str(folder / TRAINER_STATE_NAME))


def dump_rng_states(trainer: SentenceTransformerTrainer) -> Mapping[str, bytes]:
    """Return the file with this process's RNG states: its name and its content."""
    import torch

    states = {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.random.get_rng_state()}
    is_distributed = trainer.args.world_size > 1
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state_all() if is_distributed else torch.cuda.get_rng_state()
    content = io.BytesIO()
    torch.save(states, content)
    return {f"rng_state_{trainer.args.process_index}.pth" if is_distributed else "rng_state.pth": content.getvalue()}
