"""Weights on disk that are no longer what their run wrote: found before anything is decided by them."""

from __future__ import annotations

import shutil

from embsweep.core.errors import EmbsweepError
from embsweep.reports.progress import Progress
from embsweep.search.ledger import Ledger
from embsweep.sweep.phase import Phase
from embsweep.training.checkpoint import check_checkpoint

QUARANTINE = "best.corrupt"
"""The folder of a run in which its torn weights are kept, to be looked at."""


def quarantine_corrupt(ledger: Ledger, phase: Phase, progress: Progress) -> None:
    """Compare the kept weights of finished runs with their manifests; those that differ cannot win, and that is said.

    The next best configuration then stands in their place. A manifest that was rewritten too is left to the proof.
    """
    for record in ledger.trials:
        weights = phase.trial_dir(record.number) / "best"
        if not record.is_finished or not weights.is_dir():
            continue
        try:
            check_checkpoint(weights)
        except EmbsweepError as error:
            aside = weights.with_name(QUARANTINE)
            shutil.rmtree(aside, ignore_errors=True)
            weights.rename(aside)
            progress.say(
                f"{phase.tracking_run(record).name} cannot win: {error}. Its weights were put aside, in {aside}"
            )
