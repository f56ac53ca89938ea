"""Refuse a ledger that is older than the files of its sweep: a copy that was put back.

A sweep that went on from it would draw other trials under numbers that MLflow knows already, and forget how often the
test split was used. A crash does not look like this: the ledger is always written first.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from embsweep.core.errors import CodedError
from embsweep.search.record import TrialRecord
from embsweep.sweep.folder import SweepFolder
from embsweep.training.resume import read_fence


def check_not_older(folder: SweepFolder, records: Sequence[TrialRecord], evaluations: int) -> None:
    """Check that the ledger has every trial, attempt and test evaluation of which there are files.

    Args:
        folder: The folder of the sweep.
        records: The trials in the ledger.
        evaluations: Number of test evaluations in the ledger.

    Raises:
        CodedError: `older-copy`, with the first file that is newer, and how to go on.
    """
    newer = [*_find_newer_trials(folder, records), *_find_newer_evaluations(folder, evaluations)]
    if not newer:
        return
    place, what = newer[0]
    names = shlex.join(path.relative_to(folder.root).as_posix() for path, _ in newer)
    raise CodedError(
        "older-copy",
        f"{folder.ledger}: is older than {place}, of {what}: a copy was put back. Put back the newest copy, start over "
        "with sweep.fresh=true, or give up what the copy lacks (MLflow keeps its runs, and the parameters of trials of "
        f"these numbers): cd {shlex.quote(str(folder.root))} && mkdir lost && mv {names} lost/",
    )


def _find_newer_trials(folder: SweepFolder, records: Sequence[TrialRecord]) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.trials.glob("*")):
        if not (path.name.isdecimal() and path.is_dir()):
            continue
        number, attempt = int(path.name), read_fence(path)
        if number >= len(records):
            yield path, f"trial {number}, which it does not have"
        elif attempt > records[number].attempt:
            yield path, f"attempt {attempt} of trial {number}, of which it has {records[number].attempt}"


def _find_newer_evaluations(folder: SweepFolder, evaluations: int) -> Iterator[tuple[Path, str]]:
    number = evaluations + 1
    while (path := folder.holdout_evaluation(number)).exists():
        yield path, f"test evaluation {number}, of which it has {evaluations}"
        number += 1
