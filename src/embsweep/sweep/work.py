"""What the runner does for each job: `run_trial`, with all that the trials of a sweep share."""

from __future__ import annotations

from functools import partial

from embsweep.runner.desk import Work
from embsweep.sweep.context import SweepContext
from embsweep.sweep.memory_check import count_sharing
from embsweep.trial.train import TrialData, run_trial


def build_work(context: SweepContext, data: TrialData) -> Work:
    """One trial on `data`. What is given by keyword travels once, and not with every trial."""
    supplies = context.supplies
    share = 1 / count_sharing(context.prepared.slots)
    return partial(run_trial, data=data, tokens=supplies.tokens, models=supplies.models, memory_share=share)
