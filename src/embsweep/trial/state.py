"""What a trial needs to go on after its process died: weights, optimizer, schedule, chance, and what it has reported.

The state of an evaluation is on disk before anybody hears of the evaluation. So whatever dies at whatever moment, the
next attempt goes on behind the last report, and repeats at most what lay between two of them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.decide.scores import PerQuery
from embsweep.errors import EmbsweepError
from embsweep.trial.checkpoint import save_model
from embsweep.trial.folder import check_files, write_folder
from embsweep.trial.group import SOLO, Group
from embsweep.trial.messages import reports_from_text, reports_to_text
from embsweep.trial.reading import save_values
from embsweep.trial.reporter import Report, TrialJob

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainer

log = logging.getLogger(__name__)

_REPORTS = "reports.json"
_VALUES = "values.npz"
_SETUP = "setup.json"


@dataclass(frozen=True)
class Setup:
    """What was decided when the trial began, and must be the same when it goes on; `job` is `digest_job` of it."""

    job: str
    workers: int = 1
    mini_batch_size: int | None = None


@dataclass(frozen=True)
class TrialState:
    """A state on disk, whole and unaltered: what was reported up to it, and the trainer's files in `folder`.

    `values` is the file of each query's score at its own evaluation.
    """

    folder: Path
    setup: Setup
    reports: tuple[Report, ...]

    @property
    def values(self) -> Path:
        """Each query's score at the last of `reports`."""
        return self.folder / _VALUES


def save_state(trainer: SentenceTransformerTrainer, state: TrialState, values: PerQuery, group: Group = SOLO) -> None:
    """Write the state of `trainer` behind the last of its reports to `state.folder`, in place of an earlier one.

    `values` holds each query's score there. Called by every process of `group` at the same step; only the first one
    writes. There is no pickle in it but what torch reads with `weights_only=True`.
    """
    chance = _merge(group.gather(_read_rng_files(trainer)))
    if not group.is_first:
        return

    def write(fresh: Path) -> None:
        save_model(trainer.model, fresh)
        trainer._save_optimizer_and_scheduler(str(fresh))
        trainer._save_scaler(str(fresh))
        trainer.state.save_to_json(str(fresh / "trainer_state.json"))
        for name, content in chance.items():
            (fresh / name).write_bytes(content)
        save_values(fresh / _VALUES, values)
        (fresh / _SETUP).write_text(json.dumps(asdict(state.setup)), "ascii")
        (fresh / _REPORTS).write_text(reports_to_text(state.reports), "utf-8")

    write_folder(state.folder, write)


def digest_job(job: TrialJob) -> str:
    """The same for every attempt at the same training."""
    return hashlib.sha256(f"{job.fold} {job.config.model_dump_json()}".encode()).hexdigest()


def find_state(job: TrialJob, group: Group = SOLO) -> TrialState | None:
    """What an earlier attempt at `job` left; None where there is none, or with a warning where it cannot be used.

    One that another number of processes wrote is not: their shares of the data and of chance are others.
    """
    folder = job.state
    if not folder.is_dir():
        return None
    try:
        check_files(folder)
        setup = Setup(**json.loads((folder / _SETUP).read_text("ascii")))
        if (setup.job, setup.workers) != (digest_job(job), group.size):
            log.warning(
                "the state in %s is of another configuration or number of workers: the trial starts over", folder
            )
            return None
        return TrialState(folder, setup, reports_from_text((folder / _REPORTS).read_text("utf-8")))
    except (EmbsweepError, OSError, ValueError, KeyError, TypeError) as error:
        log.warning("the state in %s cannot be used, the trial starts over: %s", folder, error)
        return None


def _read_rng_files(trainer: SentenceTransformerTrainer) -> Mapping[str, bytes]:
    """The random number generators of this process, as the trainer writes and reads them."""
    with tempfile.TemporaryDirectory() as folder:
        trainer._save_rng_state(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def _merge(parts: list[Mapping[str, bytes]]) -> dict[str, bytes]:
    return {name: content for part in parts for name, content in part.items()}
