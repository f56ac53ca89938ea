"""What a trial keeps of an evaluation, cut off at every moment: the next attempt ends as if nothing had happened."""

import copy
import os
import shutil
import tempfile
from collections import namedtuple
from dataclasses import replace
from itertools import count

import pytest

from embsweep.training import callback as rungs
from embsweep.training.callback import EvaluationCallback
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import compute_fingerprint, find_state
from embsweep.training.trial import run_trial
from tests.training.cuts import Died, life_of
from tests.training.recorder import Recorder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_static")]

OBJECTIVES = {0.25: 0.2, 0.5: 0.1, 0.75: 0.3, 1.0: 0.25}
"""Its third evaluation is the best: until then the weights of the first are nowhere but in `best`, later its own."""

FRACTIONS = tuple(OBJECTIVES)
Moment = namedtuple("Moment", ["folder", "reached"])


class Forked(BaseException):
    """The trial that was only trained to be cut off ends here."""


@pytest.fixture(scope="module", autouse=True)
def objectives():
    """Evaluations count as `OBJECTIVES` has it."""
    real = EvaluationCallback._to_report

    def to_report(callback, state, fraction, evaluation):
        patch.setattr(rungs, "compute_objective", lambda *_: OBJECTIVES[fraction])
        return real(callback, state, fraction, evaluation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EvaluationCallback, "_to_report", to_report)
        yield


@pytest.fixture(scope="module")
def make_job(make_config):
    config = make_config(
        *("model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", "train.epochs=2.5"),
        f"eval.fractions={list(FRACTIONS)}",
    )
    return lambda folder: TrialSpec(number=3, attempt=1, config=config.trial, folder=str(folder))


@pytest.fixture(scope="module")
def whole(tiny_static, objectives, make_job, data, tmp_path_factory):
    """The job and what was heard of the same trial without any fault."""
    job, recorder = make_job(tmp_path_factory.mktemp("whole") / "trial"), Recorder()
    run_trial(job, recorder, data)
    return job, recorder


def cut_at_every_moment(job, data, rung, dead, can_exchange):
    """Folders of a trial that died while it kept its `rung`-th evaluation, one a moment; in the last it got through."""
    real, folders = EvaluationCallback._keep, []

    def keep(callback, report, evaluation):
        if report.fraction != FRACTIONS[rung - 1]:
            real(callback, report, evaluation)
            return
        for crash_point in count():
            other = copy.copy(callback)
            other._job = job.model_copy(update={"folder": str(dead / f"{crash_point:03d}")})
            other._state = replace(callback._state, folder=other._job.state)
            shutil.copytree(job.folder, other._job.folder, copy_function=os.link)  # what is written is new
            folders.append(other._job.folder)
            try:
                with life_of(crash_point, other._job.folder, can_exchange=can_exchange):
                    real(other, report, evaluation)
            except Died:
                continue
            raise Forked

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Forked):
        patch.setattr(EvaluationCallback, "_keep", keep)
        run_trial(job, Recorder(), data)
    return folders


def same(one, other):
    """Equal but for the moment."""
    return [replace(report, reported_at=0.0) for report in one] == [replace(r, reported_at=0.0) for r in other]


@pytest.mark.parametrize(
    ("rung", "can_exchange"),
    [
        (3, True),
        (3, False),
        pytest.param(1, True, marks=pytest.mark.nightly),
        pytest.param(4, True, marks=pytest.mark.nightly),
    ],
)
def test_it_goes_on_behind_its_last_state(make_job, data, whole, tmp_path, monkeypatch, rung, can_exchange):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # who dies leaves something there
    job = make_job(tmp_path / "trial")
    (tmp_path / "dead").mkdir()
    folders = cut_at_every_moment(job, data, rung, tmp_path / "dead", can_exchange)
    setup, reached = compute_fingerprint(job, resolve_for_this_process(job.config)), []
    for folder in folders:
        state = find_state(job.model_copy(update={"folder": folder}), setup)  # InvalidResumeState: it cannot go on
        reached.append(0 if state is None else len(state.reports))
    assert set(reached) == {rung - 1, rung}
    assert reached == sorted(reached), "once the new one is there, it stays"
    turn, last = reached.index(rung), len(folders) - 1
    for place in {turn - 1, turn, (turn + last) // 2}:
        check_end(job.model_copy(update={"folder": folders[place]}), data, whole, reached[place])


def check_end(job, data, whole, reached):
    """It ends as the whole trial has, and says what that has said; at most one report a second time."""
    whole_job, expected = whole
    recorder = Recorder()
    run_trial(job, recorder, data)
    (started,), (result,) = recorder.started, recorder.results
    assert not {"restarted", "used_previous_state"} & set(started.facts)
    assert same([*started.earlier, *recorder.reports], expected.reports)
    assert len(recorder.reports) == len(FRACTIONS) - max(reached - 1, 0)
    assert result.outcome == Outcome.COMPLETE
    assert (result.best_objective, result.best_scores) == (0.3, expected.results[0].best_scores)
    assert (job.best / "manifest.json").read_bytes() == (whole_job.best / "manifest.json").read_bytes()
    assert job.values.read_bytes() == whole_job.values.read_bytes()
    left = [path.name for path in job.best.parent.glob(".*")]
    assert [name for name in left if not name.startswith(".state.")] == [], "those of states go with the trial's end"
