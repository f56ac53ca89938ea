"""What a trial needs to go on after its process died: weights, optimizer, schedule, chance, and what it has reported.

The state of an evaluation is on disk before anybody hears of the evaluation. So whatever dies at whatever moment, the
next attempt goes on behind the last report, and repeats at most what lay between two of them. The state before the last
is kept until the next one is written: where a disk spoils the last, `trial.fall_back_to_previous` goes on from there.

One evaluation back: where the last state of a trial is torn, it goes on from the one before.

That one lies in `before`, a folder of the same make as the trial's own, which `save_state` fills. Weights that were the
best at its time are moved there when better ones are written.

Which attempt at a trial may write: a machine that is cut off may go on with one that was given to another.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.distributed import SINGLE, ProcessGroup
from embsweep.core.errors import CodedError, EmbsweepError
from embsweep.core.files import atomic_write, check_files, remove, restore_folder, write_folder
from embsweep.evaluation.per_query import load_per_query, save_per_query
from embsweep.selection.scores import PerQuery
from embsweep.training.checkpoint import check_checkpoint, save_model
from embsweep.training.hardware import HardwareSettings
from embsweep.training.messages import PREVIOUS, TrialReport, TrialSpec, reports_from_text, reports_to_text

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
    """What must be the same when a trial goes on: the training itself, who computes it, how, and with what."""

    job: str
    workers: int = 1
    hardware: str = ""
    libraries: str = ""

    def difference(self, other: RunFingerprint) -> str | None:
        """What differs, in words; None where nothing does."""
        names = {
            "job": "another configuration",
            "workers": "another number of workers",
            "hardware": "other choices of the hardware",
            "libraries": "other versions of the libraries",
        }
        return next((what for name, what in names.items() if getattr(self, name) != getattr(other, name)), None)


def compute_fingerprint(job: TrialSpec, choice: HardwareSettings, group: ProcessGroup = SINGLE) -> RunFingerprint:
    """The setup of this process for `job`; that of every attempt where nothing has changed."""
    import torch
    import transformers

    training = hashlib.sha256(f"{job.fold} {job.config.model_dump_json()}".encode()).hexdigest()
    libraries = f"torch {torch.__version__}, transformers {transformers.__version__}"
    return RunFingerprint(training, group.size, json.dumps(asdict(choice), sort_keys=True), libraries)


@dataclass(frozen=True)
class ResumeState:
    """A state on disk, whole and unaltered: what was reported up to it, and the trainer's files in `folder`.

    `mini_batch_size` is that of the cached loss, as chosen when the trial began or, where memory ran out then, as
    `oom_retry` says; `values` the file of each query's score at the state's own evaluation. Without reports it is
    that of a trial about to begin.
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
        """Each query's score at the last of `reports`."""
        return self.folder / _VALUES


def save_state(
    trainer: SentenceTransformerTrainer, state: ResumeState, values: PerQuery, group: ProcessGroup = SINGLE
) -> None:
    """Write the state of `trainer` behind the last of its reports to `state.folder`; the last becomes the one before.

    `values` holds each query's score there. Called by every process of `group` at the same step; only the first one
    writes. There is no pickle in it but what torch reads with `weights_only=True`.
    """
    rng_states = _merge(group.gather(_read_rng_files(trainer)))
    if not group.is_first:
        return

    def write(fresh: Path) -> None:
        save_model(trainer.model, fresh)
        trainer._save_optimizer_and_scheduler(str(fresh))
        trainer._save_scaler(str(fresh))
        trainer.state.save_to_json(str(fresh / "trainer_state.json"))
        for name, content in rng_states.items():
            (fresh / name).write_bytes(content)
        save_per_query(fresh / _VALUES, values)
        setup = {**asdict(state.setup), _MINI_BATCH: state.mini_batch_size, _RETRY: state.oom_retry}
        (fresh / _SETUP).write_text(json.dumps(setup), "ascii")
        (fresh / _REPORTS).write_text(reports_to_text(state.reports), "utf-8")

    before = _make_room(state.folder)
    try:
        write_folder(state.folder, write, keep_as=before)
    except Exception as error:  # a full disk, in the words of torch, safetensors or the system
        # The trial needs its state only if it dies. The last one does not fit the weights that may follow.
        log.warning("the state of the trial cannot be kept: %s", error)
        if state.folder.exists():
            state.folder.rename(before)


def _make_room(folder: Path) -> Path:
    """Where the state in `folder` is to be kept as the one before; what was before that goes first."""
    before = folder.parent / PREVIOUS / folder.name
    if folder.exists():
        shutil.rmtree(before.parent, ignore_errors=True)
    before.parent.mkdir(parents=True, exist_ok=True)
    return before


class InvalidResumeState(CodedError):
    """There is a state, and it is not one to go on from."""


def find_state(job: TrialSpec, setup: RunFingerprint) -> ResumeState | None:
    """What an earlier attempt at `job` left, or None where there is none. InvalidResumeState says why one is not used.

    The weights of the best evaluation are checked with it, unless they are those of the state itself.
    """
    restore_folder(job.state)
    if job.state.exists():
        return check_state(job, setup)
    if job.previous.state.exists():
        raise InvalidResumeState("state-not-kept", "its last state could not be kept")
    return None


def check_state(
    job: TrialSpec, setup: RunFingerprint, best: Path | None = None, values: Path | None = None
) -> ResumeState:
    """The state of `job`, whole, of this setup and with the best weights of its time; else InvalidResumeState."""
    try:
        state, difference = _read_state(job.state, setup)
    except _UNREADABLE as error:
        raise InvalidResumeState("state-unreadable", f"its state cannot be read ({error})") from None
    if difference is not None:
        raise InvalidResumeState("other-setup", f"its state is of {difference}")
    _check_best(job, state, best or job.best, values or job.values)
    return state


_UNREADABLE = (EmbsweepError, OSError, ValueError, KeyError, TypeError)


def _read_state(folder: Path, setup: RunFingerprint) -> tuple[ResumeState, str | None]:
    """The state as it lies there, and how its setup differs from `setup`. One of `_UNREADABLE` where it is torn."""
    check_files(folder)
    stored = json.loads((folder / _SETUP).read_text("ascii"))
    size, retry = stored.pop(_MINI_BATCH), stored.pop(_RETRY, None)
    reports = reports_from_text((folder / _REPORTS).read_text("utf-8"))
    return ResumeState(folder, setup, reports, size, retry), setup.difference(RunFingerprint(**stored))


def _check_best(job: TrialSpec, state: ResumeState, weights: Path, values: Path) -> None:
    """StateUnusable where the best weights were an earlier evaluation's and are not what was written then."""
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


def _read_rng_files(trainer: SentenceTransformerTrainer) -> Mapping[str, bytes]:
    """The random number generators of this process, as the trainer writes and reads them."""
    with tempfile.TemporaryDirectory() as folder:
        trainer._save_rng_state(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _merge(parts: list[Mapping[str, bytes]]) -> dict[str, bytes]:
    return {name: content for part in parts for name, content in part.items()}


def keep_best_of_previous(job: TrialSpec) -> None:
    """Before better weights are written: the state before keeps the best ones of its time."""
    before = job.previous
    if not before.state.exists():
        return
    for now, then in ((job.best, before.best), (job.values, before.values)):
        if now.exists() and not then.exists():
            now.rename(then)


def fall_back_to_previous(job: TrialSpec, setup: RunFingerprint) -> ResumeState | None:
    """The state before the last, put in the place of a last one that is torn; None where that is no better.

    The best weights of its time go with it: those that were kept with it, or those that are the best still.
    """
    before = job.previous
    pairs = ((before.best, job.best), (before.values, job.values))
    try:
        state = check_state(before, setup, *(then if then.exists() else now for then, now in pairs))
    except InvalidResumeState:
        return None
    for then, now in (*pairs, (before.state, job.state)):  # the state last: until then the same is done once more
        if then.exists():
            remove(now)
            then.rename(now)
    return replace(state, folder=job.state)


_NAME = "attempt"


class StaleAttempt(SystemExit):
    """A later attempt has begun: this process ends without a word, there is nobody to hear it."""


def acquire_fence(job: TrialSpec) -> None:
    """Say that this attempt writes from now on. StaleAttempt where a later one has said so."""
    check_fence(job)
    atomic_write(Path(job.folder) / _NAME, str(job.attempt).encode("ascii"))


def check_fence(job: TrialSpec) -> None:
    """Superseded where a later attempt writes to the trial's folder."""
    try:
        owner = int((Path(job.folder) / _NAME).read_text("ascii"))
    except (OSError, ValueError):
        return
    if owner > job.attempt:
        raise StaleAttempt(f"attempt {job.attempt} of trial {job.number} goes on as attempt {owner}")
