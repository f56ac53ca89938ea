"""A trial that dies at any crash point while it saves an evaluation: the next attempt ends with the same result."""

import copy
import os
import shutil
import tempfile
from dataclasses import replace
from itertools import count

import pytest

from embsweep.training import callback as rungs
from embsweep.training.callback import EvaluationCallback
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import compute_fingerprint, find_state
from tests.training.crash_points import Died, die_at
from tests.training.recorder import Recorder, run_trial

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_static")]

OBJECTIVES = {0.25: 0.2, 0.5: 0.1, 0.75: 0.3, 1.0: 0.25}
"""The third evaluation is the best: before it only `best` has the weights of the first, after it those of the third."""

FRACTIONS = tuple(OBJECTIVES)


class TrialEnded(BaseException):
    """Ends the trial that was trained only up to the write under test."""


@pytest.fixture(scope="module", autouse=True)
def objectives():
    """Give the evaluations the objectives of `OBJECTIVES`."""
    real = EvaluationCallback._to_report

    def to_report(callback, state, fraction, *others):
        patch.setattr(rungs, "compute_objective", lambda *_: OBJECTIVES[fraction])
        return real(callback, state, fraction, *others)

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
def uninterrupted(tiny_static, objectives, make_job, data, tmp_path_factory):
    """Run the same trial without a crash; return its job and its recorder."""
    job, recorder = make_job(tmp_path_factory.mktemp("uninterrupted") / "trial"), Recorder()
    run_trial(job, recorder, data)
    return job, recorder


def die_at_every_crash_point(job, data, rung, crashed, can_exchange):
    """Return one trial folder per crash point of saving evaluation `rung`; in the last one the save was completed."""
    real, folders = EvaluationCallback._save, []

    def save(callback, report, evaluation):
        if report.fraction != FRACTIONS[rung - 1]:
            real(callback, report, evaluation)
            return
        for crash_point in count():
            forked = copy.copy(callback)
            forked._job = job.model_copy(update={"folder": str(crashed / f"{crash_point:03d}")})
            forked._state = replace(callback._state, folder=forked._job.state)
            shutil.copytree(job.folder, forked._job.folder, copy_function=os.link)  # the trial writes new files only
            folders.append(forked._job.folder)
            try:
                with die_at(crash_point, forked._job.folder, can_exchange=can_exchange):
                    real(forked, report, evaluation)
            except Died:
                continue
            raise TrialEnded

    with pytest.MonkeyPatch.context() as patch, pytest.raises(TrialEnded):
        patch.setattr(EvaluationCallback, "_save", save)
        run_trial(job, Recorder(), data)
    return folders


def same(one, other):
    """Compare reports without their time."""
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
def test_trial_resumes_from_its_last_state(make_job, data, uninterrupted, tmp_path, monkeypatch, rung, can_exchange):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # a crash leaves files there
    job = make_job(tmp_path / "trial")
    (tmp_path / "crashed").mkdir()
    folders = die_at_every_crash_point(job, data, rung, tmp_path / "crashed", can_exchange)
    setup, reached = compute_fingerprint(job, resolve_for_this_process(job.config)), []
    for folder in folders:
        state = find_state(job.model_copy(update={"folder": folder}), setup)  # InvalidResumeState: it cannot resume
        reached.append(0 if state is None else len(state.reports))
    assert set(reached) == {rung - 1, rung}
    assert reached == sorted(reached), "once the new state exists, it is found"
    first_new, last = reached.index(rung), len(folders) - 1
    for index in {first_new - 1, first_new, (first_new + last) // 2}:
        check_end(job.model_copy(update={"folder": folders[index]}), data, uninterrupted, reached[index])


def check_end(job, data, uninterrupted, reached):
    """Check that the trial ends and reports like the uninterrupted one, with at most one report repeated."""
    uninterrupted_job, expected = uninterrupted
    recorder = Recorder()
    run_trial(job, recorder, data)
    (started,), (result,) = recorder.started, recorder.results
    assert "restarted" not in started.facts
    assert same([*started.earlier, *recorder.reports], expected.reports)
    assert len(recorder.reports) == len(FRACTIONS) - max(reached - 1, 0)
    assert result.outcome == Outcome.COMPLETE
    assert result.best_objective == 0.3
    assert (job.best / "manifest.json").read_bytes() == (uninterrupted_job.best / "manifest.json").read_bytes()
    assert job.values.read_bytes() == uninterrupted_job.values.read_bytes()
    hidden = [path.name for path in job.best.parent.glob(".*")]
    assert [name for name in hidden if not name.startswith(".state.")] == [], "the trial's end removes those of states"
