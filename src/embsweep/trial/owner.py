"""Which attempt at a trial may write: a machine that is cut off may go on with one that was given to another."""

from __future__ import annotations

from pathlib import Path

from embsweep.durable import write_whole
from embsweep.trial.reporter import TrialJob

_NAME = "attempt"


class Superseded(SystemExit):
    """A later attempt has begun: this process ends without a word, there is nobody to hear it."""


def take_over(job: TrialJob) -> None:
    """Say that this attempt writes from now on. Superseded where a later one has said so."""
    check_owner(job)
    write_whole(Path(job.folder) / _NAME, str(job.attempt).encode("ascii"))


def check_owner(job: TrialJob) -> None:
    """Superseded where a later attempt writes to the trial's folder."""
    try:
        owner = int((Path(job.folder) / _NAME).read_text("ascii"))
    except (OSError, ValueError):
        return
    if owner > job.attempt:
        raise Superseded(f"attempt {job.attempt} of trial {job.number} goes on as attempt {owner}")
