"""Find and quarantine corrupt checkpoints before any decision depends on them."""

from __future__ import annotations

import shutil

from embsweep.core.errors import EmbsweepError
from embsweep.reports.progress import Progress
from embsweep.search.ledger import Ledger
from embsweep.sweep.phase import Phase
from embsweep.training.checkpoint import check_checkpoint

QUARANTINE = "best.corrupt"
"""Folder of a run in which its corrupt weights are kept for inspection."""


def quarantine_corrupt(ledger: Ledger, phase: Phase, progress: Progress) -> None:
    """Compare the weights of finished runs with their manifests; quarantine and report those that differ.

    A run without weights cannot win, so the next best configuration takes its place. Weights whose manifest was
    rewritten too are not found here, but by the verification of the finalists.

    Args:
        ledger: The ledger of the phase.
        phase: The phase, with the folders of its runs.
        progress: Reports each quarantined checkpoint.
    """
    for record in ledger.trials:
        weights = phase.trial_dir(record.number) / "best"
        if not record.is_finished or not weights.is_dir():
            continue
        try:
            check_checkpoint(weights)
        except EmbsweepError as error:
            quarantine = weights.with_name(QUARANTINE)
            shutil.rmtree(quarantine, ignore_errors=True)
            weights.rename(quarantine)
            progress.say(
                f"{phase.tracking_run(record).name} cannot win: {error}. Its weights were moved to {quarantine}"
            )
