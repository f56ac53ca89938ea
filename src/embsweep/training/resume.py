"""State for resuming a trial: weights, optimizer, LR schedule, RNG states, previous reports.

The state of an evaluation is written before its report is sent. After a crash at any time the next attempt therefore
resumes after the last report, and repeats at most the steps between two reports. If a state cannot be written (full
disk), the last one stays; if it is corrupt, or does not belong to the weights beside it, the trial starts over.

A fencing token (the number of the attempt) prevents a stale attempt from writing: a disconnected machine may still run
an attempt whose trial was given to another machine.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.distributed import SINGLE, ProcessGroup
from embsweep.core.errors import CodedError, EmbsweepError
from embsweep.core.files import MANIFEST, atomic_write, require_intact, restore_folder, write_folder
from embsweep.evaluation.per_query import load_per_query, save_per_query
from embsweep.selection.scores import PerQuery
from embsweep.training.checkpoint import check_checkpoint, save_model, write_checkpoint
from embsweep.training.hardware import HardwareSettings
from embsweep.training.messages import REPORTS, AttemptAborted, TrialReport, TrialSpec

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainer

log = logging.getLogger(__name__)

_REPORTS = "reports.json"
_VALUES = "per_query.npz"
_SETUP = "setup.json"
_TRAINER_FILES = ("trainer_state.json", "optimizer.*", "scheduler.pt", "scaler.pt", "rng_state*.pth")
"""Patterns of the trainer's files in a state; the others are ours or the model's."""

_DIFFERENCES: Mapping[str, str] = {
    "job": "another configuration",
    "workers": "another number of workers",
    "hardware": "other hardware settings",
    "libraries": "other library versions",
}
"""Keys of a fingerprint, with what a difference means."""


def compute_fingerprint(job: TrialSpec, choice: HardwareSettings, group: ProcessGroup = SINGLE) -> dict[str, str | int]:
    """Return everything that must be equal for a trial to resume: configuration, workers, hardware, libraries.

    The size of a mini-batch is not part of it: a trial that ran out of memory resumes with a smaller one.

    Args:
        job: The trial.
        choice: Hardware settings from `resolve_hardware`.
        group: The processes that train the trial together.
    """
    import torch
    import transformers

    loss = job.config.loss.model_copy(update={"mini_batch_size": None})
    config = job.config.model_copy(update={"loss": loss})
    return {
        "job": hashlib.sha256(f"{job.fold} {config.model_dump_json()}".encode()).hexdigest(),
        "workers": group.size,
        "hardware": json.dumps(asdict(choice), sort_keys=True),
        "libraries": f"torch {torch.__version__}, transformers {transformers.__version__}",
    }


@dataclass(frozen=True)
class ResumeState:
    """A verified state on disk: the reports up to it, and the trainer's files in `folder`.

    Without reports it is the state of a trial that has not begun.
    """

    folder: Path
    setup: Mapping[str, str | int]
    reports: tuple[TrialReport, ...] = ()

    @property
    def best(self) -> TrialReport | None:
        """The report of the best evaluation so far."""
        return next((report for report in reversed(self.reports) if report.best_fraction == report.fraction), None)

    @property
    def has_best_weights(self) -> bool:
        """True if the last evaluation is the best one, so that the state's weights are the best weights."""
        return bool(self.reports) and self.best is self.reports[-1]


def save_state(
    trainer: SentenceTransformerTrainer, state: ResumeState, values: PerQuery, group: ProcessGroup = SINGLE
) -> None:
    """Write the trainer's state after its last report to `state.folder`, which replaces the last one.

    Every process of the group calls this at the same step; only the first one writes. The files contain no pickle
    other than those that torch reads with `weights_only=True`. A failed write is logged and not raised.

    Args:
        trainer: The trainer.
        state: Folder, fingerprint and reports of the state.
        values: Each query's score at the last report.
        group: The processes that train the trial together.
    """
    with tempfile.TemporaryDirectory() as scratch:  # this process's RNG states, as the trainer writes and reads them
        trainer._save_rng_state(scratch)
        rng_states = group.gather({path.name: path.read_bytes() for path in Path(scratch).iterdir()})
    if not group.is_first:
        return

    def write(fresh: Path) -> None:
        save_model(trainer.model, fresh)
        # The trainer's public way to save (`should_save`) also writes a pickle of its arguments, and not atomically.
        trainer._save_optimizer_and_scheduler(str(fresh))
        trainer._save_scaler(str(fresh))
        trainer.state.save_to_json(str(fresh / "trainer_state.json"))
        for name, content in itertools.chain.from_iterable(files.items() for files in rng_states):
            (fresh / name).write_bytes(content)
        save_per_query(fresh / _VALUES, values)
        (fresh / _SETUP).write_text(json.dumps(dict(state.setup)), "ascii")
        (fresh / _REPORTS).write_bytes(REPORTS.dump_json(state.reports))

    try:
        write_folder(state.folder, write)
    except Exception as error:  # a full disk: torch, safetensors and the system raise different types
        log.warning("the state of the trial cannot be written: %s", error)  # it is needed only after a crash


def restore_best(job: TrialSpec) -> None:
    """Write the best weights again from the state that has them; a crash may have prevented it."""
    atomic_write(job.values, (job.state / _VALUES).read_bytes())
    ignore = shutil.ignore_patterns(_REPORTS, _VALUES, _SETUP, MANIFEST, *_TRAINER_FILES)
    write_checkpoint(job.best, lambda fresh: shutil.copytree(job.state, fresh, ignore=ignore, dirs_exist_ok=True))


class InvalidResumeState(CodedError):
    """Raised if a trial has a state from which it cannot resume."""


def find_state(job: TrialSpec, setup: Mapping[str, str | int]) -> ResumeState | None:
    """Return the verified state of an earlier attempt, None if there is none.

    The weights of the best evaluation are verified too, unless they are those of the state itself.

    Raises:
        InvalidResumeState: If the state or these weights are corrupt, or the state has another fingerprint.
    """
    restore_folder(job.state)
    if not job.state.exists():
        return None
    try:
        require_intact(job.state)
        stored = json.loads((job.state / _SETUP).read_text("ascii"))
        reports = REPORTS.validate_json((job.state / _REPORTS).read_bytes())
        difference = next((words for key, words in _DIFFERENCES.items() if stored[key] != setup[key]), None)
    except (EmbsweepError, OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidResumeState("state-unreadable", f"its state cannot be read ({error})") from None
    if difference is not None:
        raise InvalidResumeState("other-setup", f"its state was saved with {difference}")
    state = ResumeState(job.state, setup, reports)
    if state.best is None or state.has_best_weights:
        return state
    try:
        check_checkpoint(job.best)
        load_per_query(job.values, state.best.scores, job.config.objective.metric)
    except EmbsweepError as error:
        raise InvalidResumeState(
            "best-unreadable", f"the weights of its best evaluation cannot be read ({error})"
        ) from None
    return state


_NAME = "attempt"


class StaleAttempt(AttemptAborted):
    """Raised in a stale attempt after a newer attempt of the same trial has started."""


def acquire_fence(job: TrialSpec) -> None:
    """Record that this attempt writes to the trial's folder from now on.

    Raises:
        StaleAttempt: If a later attempt has done so.
    """
    check_fence(job)
    atomic_write(Path(job.folder) / _NAME, str(job.attempt).encode("ascii"))


def check_fence(job: TrialSpec) -> None:
    """Check that no later attempt writes to the trial's folder.

    Raises:
        StaleAttempt: If one does.
    """
    latest = read_fence(Path(job.folder))
    if latest > job.attempt:
        raise StaleAttempt(f"attempt {job.attempt} of trial {job.number} was replaced by attempt {latest}")


def read_fence(folder: Path) -> int:
    """Return the number of the latest attempt that has written to a trial's folder, 0 if none has."""
    try:
        return int((folder / _NAME).read_text("ascii"))
    except (OSError, ValueError):
        return 0
