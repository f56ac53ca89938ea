"""One evaluation back: where the last state of a trial is torn, it goes on from the one before.

That one lies in `before`, a folder of the same make as the trial's own, which `save_state` fills. Weights that were the
best at its time are moved there when better ones are written.
"""

from __future__ import annotations

from dataclasses import replace

from embsweep.trial.folder import remove
from embsweep.trial.reporter import TrialJob
from embsweep.trial.state import Setup, StateUnusable, TrialState, check_state


def keep_best_before(job: TrialJob) -> None:
    """Before better weights are written: the state before keeps the best ones of its time."""
    before = job.before
    if not before.state.exists():
        return
    for now, then in ((job.best, before.best), (job.values, before.values)):
        if now.exists() and not then.exists():
            now.rename(then)


def step_back(job: TrialJob, setup: Setup) -> TrialState | None:
    """The state before the last, put in the place of a last one that is torn; None where that is no better.

    The best weights of its time go with it: those that were kept with it, or those that are the best still.
    """
    before = job.before
    pairs = ((before.best, job.best), (before.values, job.values))
    try:
        state = check_state(before, setup, *(then if then.exists() else now for then, now in pairs))
    except StateUnusable:
        return None
    for then, now in (*pairs, (before.state, job.state)):  # the state last: until then the same is done once more
        if then.exists():
            remove(now)
            then.rename(now)
    return replace(state, folder=job.state)
