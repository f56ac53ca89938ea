"""Going one evaluation back is cut off behind each of its steps: the next attempt finds the state and its best weights.

The trial's files are made by hand; the calls that move them are the real ones.
"""

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embsweep.config import TrialConfig
from embsweep.core.files import check_files, write_folder
from embsweep.evaluation.per_query import load_per_query, save_per_query
from embsweep.training import resume as steps
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
    """What a SIGKILL is to a process."""


def report(fraction, value, best, best_fraction):
    scores = {64: {"map@100": value}}
    return TrialReport(fraction, int(fraction * 100), fraction, value, best, best_fraction, scores, None, None, 0.0)


FIRST, SECOND, THIRD = report(0.25, 0.2, 0.2, 0.25), report(0.5, 0.1, 0.2, 0.25), report(0.75, 0.3, 0.3, 0.75)


def fill(values, reports, folder):
    save_per_query(folder / "per_query.npz", {64: np.array([values])})
    (folder / "setup.json").write_text('{"job": "the same", "mini_batch_size": null}')
    (folder / "reports.json").write_text(reports_to_text(reports))


def write_best(job, value):
    """The best weights of an evaluation, and each query's score with them."""
    write_folder(job.best, lambda folder: (folder / "weights").write_text(str(value)))
    save_per_query(job.values, {64: np.array([value])})


@pytest.fixture
def job(tmp_path):
    """As after three evaluations, the first and the last of them the best of their time."""
    objective = SimpleNamespace(metric="map@100")
    config = TrialConfig.model_construct(objective=objective)
    job = TrialSpec.model_construct(number=3, attempt=1, config=config, folder=str(tmp_path / "trial"), fold=None)
    write_best(job, 0.2)
    write_folder(job.previous.state, functools.partial(fill, 0.1, (FIRST, SECOND)))
    write_folder(job.state, functools.partial(fill, 0.3, (FIRST, SECOND, THIRD)))
    keep_best_of_previous(job)
    write_best(job, 0.3)
    return job


def cut_off(monkeypatch, call, at):
    """Die before the `at`-th time that something is removed or renamed; False where it does not come to that."""
    made = []

    def dying(real):
        def act(*args):
            made.append(args)
            if len(made) == at:
                raise Killed
            return real(*args)

        return act

    with monkeypatch.context() as patched:
        patched.setattr(steps, "remove", dying(steps.remove))
        patched.setattr(Path, "rename", dying(Path.rename))
        try:
            call()
        except Killed:
            return True
    return False


def go_on(job):
    """What the next attempt takes up, as `trial.train` does it; None where it starts over."""
    try:
        return find_state(job, SETUP)
    except InvalidResumeState:
        return fall_back_to_previous(job, SETUP)


def test_the_last_state_is_gone_on_from_where_nothing_is_torn(job):
    assert go_on(job).reports == (FIRST, SECOND, THIRD)


@pytest.mark.parametrize("at", range(1, 8))
def test_a_step_back_that_is_cut_off_anywhere_is_taken_to_its_end(job, monkeypatch, at):
    (job.state / "reports.json").write_text("torn")
    was_cut_off = cut_off(monkeypatch, lambda: fall_back_to_previous(job, SETUP), at)
    assert was_cut_off is (at < 7), "three pairs are put in place, each removed first"
    state = go_on(job)
    assert state is not None, "it starts over"
    assert state.reports == (FIRST, SECOND)
    assert state.folder == job.state
    check_files(job.best)
    assert (job.best / "weights").read_text() == "0.2"
    load_per_query(job.values, FIRST.scores, "map@100")
    assert find_state(job, SETUP).reports == (FIRST, SECOND), "nothing of it is torn"


@pytest.mark.parametrize("at", [1, 2, 3])
def test_better_weights_that_are_cut_off_leave_those_before_to_go_back_to(tmp_path, job, monkeypatch, at):
    """The state is written first, then the best weights of its time are put away, then the better ones are written."""
    fresh = job.model_copy(update={"folder": str(tmp_path / "fresh")})
    write_best(fresh, 0.2)
    write_folder(fresh.previous.state, functools.partial(fill, 0.1, (FIRST, SECOND)))
    write_folder(fresh.state, functools.partial(fill, 0.3, (FIRST, SECOND, THIRD)))
    assert cut_off(monkeypatch, lambda: keep_best_of_previous(fresh), at) is (at < 3)
    (fresh.state / "reports.json").write_text("torn")
    assert go_on(fresh).reports == (FIRST, SECOND)
    assert (fresh.best / "weights").read_text() == "0.2"
    load_per_query(fresh.values, FIRST.scores, "map@100")


def test_what_was_kept_before_is_not_overwritten_by_later_weights(job):
    """They are written twice where a crash came between: what `before` holds is of its own time."""
    keep_best_of_previous(job)
    assert (job.previous.best / "weights").read_text() == "0.2"
    load_per_query(job.previous.values, FIRST.scores, "map@100")


def test_a_state_before_without_its_best_weights_is_none_to_go_back_to(job):
    (job.state / "reports.json").write_text("torn")
    (job.previous.best / "weights").write_text("altered")
    assert go_on(job) is None
