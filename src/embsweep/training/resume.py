"""State for resuming a trial: weights, optimizer, LR schedule, RNG states, previous reports.

The state of an evaluation is written before its report is sent. After a crash at any time the next attempt therefore
resumes after the last report, and repeats at most the steps between two reports. If a state could not be written (full
disk), the trial falls back to the previous one, or starts over.

The previous state is kept in the folder `previous`, laid out like the trial's own, until the next state is written. If
the last state is corrupt, the trial falls back to it (`fall_back_to_previous`). The best weights of its time are moved
there when better ones are written.

A fencing token (the number of the attempt) prevents a stale attempt from writing: a disconnected machine may still run
an attempt whose trial was given to another machine.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.distributed import SINGLE, ProcessGroup
from embsweep.core.errors import CodedError, EmbsweepError
from embsweep.core.files import atomic_write, remove, require_intact, restore_folder, write_folder
from embsweep.evaluation.per_query import load_per_query, save_per_query
from embsweep.selection.scores import PerQuery
from embsweep.training.checkpoint import check_checkpoint, save_model
from embsweep.training.hardware import HardwareSettings
from embsweep.training.messages import PREVIOUS, TrialReport, TrialSpec, reports_from_text, reports_to_text
from embsweep.training.trainer_state import dump_rng_states, write_trainer_state

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainer

log = logging.getLogger(__name__)

_REPORTS = "reports.json"
_VALUES = "per_query.npz"
_SETUP = "setup.json"
_MINI_BATCH = "mini_batch_size"
_RETRY = "oom_retry"


@dataclass(frozen=True)
class RunFingerprint:
    """Everything that must be equal for a trial to resume: configuration, workers, hardware settings, libraries."""

    job: str
    workers: int = 1
    hardware: str = ""
    libraries: str = ""

    def difference(self, other: RunFingerprint) -> str | None:
        """Describe the first difference, None if there is none."""
        names = {
            "job": "another configuration",
            "workers": "another number of workers",
            "hardware": "other hardware settings",
            "libraries": "other library versions",
        }
        return next((what for name, what in names.items() if getattr(self, name) != getattr(other, name)), None)


def compute_fingerprint(job: TrialSpec, choice: HardwareSettings, group: ProcessGroup = SINGLE) -> RunFingerprint:
    """Compute the fingerprint of a trial as this process runs it.

    Args:
        job: The trial.
        choice: Hardware settings from `resolve_hardware`.
        group: The processes that train the trial together.
    """
    import torch
    import transformers

    training = hashlib.sha256(f"{job.fold} {job.config.model_dump_json()}".encode()).hexdigest()
    libraries = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return RunFingerprint(training, group.size, json.dumps(asdict(choice), sort_keys=True), libraries)


@dataclass(frozen=True)
class ResumeState:
    """A verified state on disk: the reports up to it, and the trainer's files in `folder`.

    `mini_batch_size` is that of the cached loss, as chosen at the trial's start or, after running out of memory, as in
    `oom_retry`. Without reports it is the state of a trial that has not begun.
    """

    folder: Path
    setup: RunFingerprint
    reports: tuple[TrialReport, ...] = ()
    mini_batch_size: int | None = None
    oom_retry: str | None = None

    @property
    def best(self) -> TrialReport | None:
        """The report of the best evaluation so far."""
        return next((report for report in reversed(self.reports) if report.best_fraction == report.fraction), None)

    @property
    def values(self) -> Path:
        """File of each query's score at the last of `reports`."""
        return self.folder / _VALUES


def save_state(
    trainer: SentenceTransformerTrainer, state: ResumeState, values: PerQuery, group: ProcessGroup = SINGLE
) -> None:
    """Write the trainer's state after its last report to `state.folder`; the last state becomes the previous one.

    Every process of the group calls this at the same step; only the first one writes. The files contain no pickle
    other than those that torch reads with `weights_only=True`. A failed write is logged and not raised.

    Args:
        trainer: The trainer.
        state: Folder, fingerprint and reports of the state.
        values: Each query's score at the last report.
        group: The processes that train the trial together.
    """
    rng_states = _merge(group.gather(dump_rng_states(trainer)))
    if not group.is_first:
        return

    def write(fresh: Path) -> None:
        save_model(trainer.model, fresh)
        write_trainer_state(trainer, fresh)
        for name, content in rng_states.items():
            (fresh / name).write_bytes(content)
        save_per_query(fresh / _VALUES, values)
        setup = {**asdict(state.setup), _MINI_BATCH: state.mini_batch_size, _RETRY: state.oom_retry}
        (fresh / _SETUP).write_text(json.dumps(setup), "ascii")
        (fresh / _REPORTS).write_text(reports_to_text(state.reports), "utf-8")

    previous = _prepare_previous(state.folder)
    try:
        write_folder(state.folder, write, keep_as=previous)
    except Exception as error:  # a full disk: torch, safetensors and the system raise different types
        # The state is needed only after a crash. The last one does not match the weights that may follow.
        log.warning("the state of the trial cannot be written: %s", error)
        if state.folder.exists():
            state.folder.rename(previous)


def _prepare_previous(folder: Path) -> Path:
    """Return the path at which to keep `folder` as the previous state; if `folder` exists, delete the older one."""
    previous = folder.parent / PREVIOUS / folder.name
    if folder.exists():
        shutil.rmtree(previous.parent, ignore_errors=True)
    previous.parent.mkdir(parents=True, exist_ok=True)
    return previous


class InvalidResumeState(CodedError):
    """Raised if a trial has a state from which it cannot resume."""


def find_state(job: TrialSpec, setup: RunFingerprint) -> ResumeState | None:
    """Return the verified state of an earlier attempt, None if there is none.

    The weights of the best evaluation are verified too, unless they are those of the state itself.

    Raises:
        InvalidResumeState: If the state is corrupt, was not kept, or has another fingerprint.
    """
    restore_folder(job.state)
    if job.state.exists():
        return check_state(job, setup)
    if job.previous.state.exists():
        raise InvalidResumeState("state-not-kept", "its last state could not be written")
    return None


def check_state(
    job: TrialSpec, setup: RunFingerprint, best: Path | None = None, values: Path | None = None
) -> ResumeState:
    """Read and verify the state of a trial.

    Args:
        job: The trial; its folder contains the state.
        setup: The required fingerprint.
        best: Folder of the best weights at that state; the trial's own if None.
        values: File of the best evaluation's per-query scores; the trial's own if None.

    Raises:
        InvalidResumeState: If the state or these weights are corrupt, or the fingerprint differs.
    """
    try:
        state, difference = _read_state(job.state, setup)
    except _UNREADABLE as error:
        raise InvalidResumeState("state-unreadable", f"its state cannot be read ({error})") from None
    if difference is not None:
        raise InvalidResumeState("other-setup", f"its state was saved with {difference}")
    _check_best(job, state, best or job.best, values or job.values)
    return state


_UNREADABLE = (EmbsweepError, OSError, ValueError, KeyError, TypeError)


def _read_state(folder: Path, setup: RunFingerprint) -> tuple[ResumeState, str | None]:
    """Read a state and the difference of its fingerprint from `setup`; raise one of `_UNREADABLE` if it is corrupt."""
    require_intact(folder)
    stored = json.loads((folder / _SETUP).read_text("ascii"))
    size, retry = stored.pop(_MINI_BATCH), stored.pop(_RETRY, None)
    reports = reports_from_text((folder / _REPORTS).read_text("utf-8"))
    return ResumeState(folder, setup, reports, size, retry), setup.difference(RunFingerprint(**stored))


def _check_best(job: TrialSpec, state: ResumeState, weights: Path, values: Path) -> None:
    """Verify the best weights, unless they are those of the state. Raise InvalidResumeState if they were altered."""
    best = state.best
    if best is None or best is state.reports[-1]:
        return
    try:
        check_checkpoint(weights)
        load_per_query(values, best.scores, job.config.objective.metric)
    except EmbsweepError as error:
        raise InvalidResumeState(
            "best-unreadable", f"the weights of its best evaluation cannot be read ({error})"
        ) from None


def _merge(parts: list[Mapping[str, bytes]]) -> dict[str, bytes]:
    return {name: content for part in parts for name, content in part.items()}


def keep_best_of_previous(job: TrialSpec) -> None:
    """Move the best weights beside the previous state to which they belong, before better ones are written."""
    previous = job.previous
    if not previous.state.exists():
        return
    for now, then in ((job.best, previous.best), (job.values, previous.values)):
        if now.exists() and not then.exists():
            now.rename(then)


def fall_back_to_previous(job: TrialSpec, setup: RunFingerprint) -> ResumeState | None:
    """Replace a corrupt state by the previous one, and return that; None if it is invalid too.

    The best weights of its time are restored with it: those kept beside it, or the present ones if they are the same.
    """
    previous = job.previous
    pairs = ((previous.best, job.best), (previous.values, job.values))
    try:
        state = check_state(previous, setup, *(then if then.exists() else now for then, now in pairs))
    except InvalidResumeState:
        return None
    for then, now in (*pairs, (previous.state, job.state)):  # the state last: until then a crash repeats this
        if then.exists():
            remove(now)
            then.rename(now)
    return replace(state, folder=job.state)


_NAME = "attempt"


class StaleAttempt(SystemExit):
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
    try:
        latest = int((Path(job.folder) / _NAME).read_text("ascii"))
    except (OSError, ValueError):
        return
    if latest > job.attempt:
        raise StaleAttempt(f"attempt {job.attempt} of trial {job.number} was replaced by attempt {latest}")
