"""A fallback to the previous state that dies after any step: the next attempt finds that state and its best weights.

The trial's files are written by hand; the calls that move them are the real ones.
"""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embsweep.config import TrialConfig
from embsweep.core.files import require_intact, write_folder
from embsweep.evaluation.per_query import load_per_query, save_per_query
from embsweep.training import resume
from embsweep.training.messages import TrialReport, TrialSpec, reports_to_text
from embsweep.training.resume import (
    InvalidResumeState,
    RunFingerprint,
    fall_back_to_previous,
    find_state,
    keep_best_of_previous,
)

SETUP = RunFingerprint("the same")


class Killed(BaseException):
    """Simulates a SIGKILL."""


def report(fraction, value, best, best_fraction):
    scores = {64: {"map@100": value}}
    return TrialReport(fraction, int(fraction * 100), fraction, value, best, best_fraction, scores, None, None, 0.0)


FIRST, SECOND, THIRD = report(0.25, 0.2, 0.2, 0.25), report(0.5, 0.1, 0.2, 0.25), report(0.75, 0.3, 0.3, 0.75)


def fill(values, reports, folder):
    save_per_query(folder / "per_query.npz", {64: np.array([values])})
    (folder / "setup.json").write_text('{"job": "the same", "mini_batch_size": null}')
    (folder / "reports.json").write_text(reports_to_text(reports))


def write_best(job, value):
    """Write the best weights of an evaluation and the score of each query."""
    write_folder(job.best, lambda folder: (folder / "weights").write_text(str(value)))
    save_per_query(job.values, {64: np.array([value])})


@pytest.fixture
def job(tmp_path):
    """A trial after three evaluations: the first was the best until the last."""
    objective = SimpleNamespace(metric="map@100")
    config = TrialConfig.model_construct(objective=objective)
    job = TrialSpec.model_construct(number=3, attempt=1, config=config, folder=str(tmp_path / "trial"), fold=None)
    write_best(job, 0.2)
    write_folder(job.previous.state, functools.partial(fill, 0.1, (FIRST, SECOND)))
    write_folder(job.state, functools.partial(fill, 0.3, (FIRST, SECOND, THIRD)))
    keep_best_of_previous(job)
    write_best(job, 0.3)
    return job


def interrupt(monkeypatch, call, at):
    """Die before removal or rename number `at` (1 is the first); return False if there are fewer."""
    calls = []

    def dying(real):
        def act(*args):
            calls.append(args)
            if len(calls) == at:
                raise Killed
            return real(*args)

        return act

    with monkeypatch.context() as patched:
        patched.setattr(resume, "remove", dying(resume.remove))
        patched.setattr(Path, "rename", dying(Path.rename))
        try:
            call()
        except Killed:
            return True
    return False


def find_resume_state(job):
    """Return the state from which the next attempt resumes, as `trial.train` does; None if it starts over."""
    try:
        return find_state(job, SETUP)
    except InvalidResumeState:
        return fall_back_to_previous(job, SETUP)


def test_trial_resumes_from_an_intact_last_state(job):
    assert find_resume_state(job).reports == (FIRST, SECOND, THIRD)


@pytest.mark.parametrize("at", range(1, 8))
def test_interrupted_fallback_is_completed(job, monkeypatch, at):
    (job.state / "reports.json").write_text("corrupt")
    was_interrupted = interrupt(monkeypatch, lambda: fall_back_to_previous(job, SETUP), at)
    assert was_interrupted is (at < 7), "three moves, each with a removal before it"
    state = find_resume_state(job)
    assert state is not None, "it would start over"
    assert state.reports == (FIRST, SECOND)
    assert state.folder == job.state
    require_intact(job.best)
    assert (job.best / "weights").read_text() == "0.2"
    load_per_query(job.values, FIRST.scores, "map@100")
    assert find_state(job, SETUP).reports == (FIRST, SECOND), "it is complete"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_interrupted_save_of_better_weights_keeps_the_earlier_ones(tmp_path, job, monkeypatch, at):
    """The state is written, then the earlier best weights are moved to `previous`, then the better ones are written."""
    fresh = job.model_copy(update={"folder": str(tmp_path / "fresh")})
    write_best(fresh, 0.2)
    write_folder(fresh.previous.state, functools.partial(fill, 0.1, (FIRST, SECOND)))
    write_folder(fresh.state, functools.partial(fill, 0.3, (FIRST, SECOND, THIRD)))
    assert interrupt(monkeypatch, lambda: keep_best_of_previous(fresh), at) is (at < 3)
    (fresh.state / "reports.json").write_text("corrupt")
    assert find_resume_state(fresh).reports == (FIRST, SECOND)
    assert (fresh.best / "weights").read_text() == "0.2"
    load_per_query(fresh.values, FIRST.scores, "map@100")


def test_weights_of_the_previous_state_are_not_overwritten(job):
    """After a crash the better weights are written twice; `previous` must keep those of its own state."""
    keep_best_of_previous(job)
    assert (job.previous.best / "weights").read_text() == "0.2"
    load_per_query(job.previous.values, FIRST.scores, "map@100")


def test_fallback_needs_the_best_weights_of_the_previous_state(job):
    (job.state / "reports.json").write_text("corrupt")
    (job.previous.best / "weights").write_text("altered")
    assert find_resume_state(job) is None
