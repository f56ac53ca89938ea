"""A trial that dies at any moment goes on from its last evaluation, and ends as if nothing had happened."""

import dataclasses
import functools
import os
from itertools import count

import pytest

from embsweep.training import callback
from embsweep.training import resume as states
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import InvalidResumeState, StaleAttempt, acquire_fence, compute_fingerprint, find_state
from embsweep.training.trial import run_trial
from tests.refusals import raises_code
from tests.training.recorder import Recorder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_static")]

FRACTIONS = (0.25, 0.5, 0.75, 1.0)


class Killed(BaseException):
    """What a SIGKILL is to a process: nothing of the trial's own handles it."""


def to_job(make_config, folder, *overrides):
    config = make_config(
        "model=static",
        "matryoshka=from_384",
        "train=static",
        "train.batch_size=8",
        "train.epochs=2.5",
        f"eval.fractions={list(FRACTIONS)}",
        *overrides,
    )
    return TrialSpec(number=3, attempt=1, config=config.trial, folder=str(folder))


@pytest.fixture
def make_job(make_config, tmp_path):
    return functools.partial(to_job, make_config, tmp_path / "trial")


def run_and_kill(monkeypatch, job, data, where, time_to_die):
    """Run the trial until `where` is called for the `time_to_die`-th time."""
    calls = count(1)
    module, name, before = where
    real = getattr(module, name)

    def dying(*args, **kwargs):
        if before and next(calls) == time_to_die:
            raise Killed
        found = real(*args, **kwargs)
        if not before and next(calls) == time_to_die:
            raise Killed
        return found

    recorder = Recorder()
    with monkeypatch.context() as patched:
        patched.setattr(module, name, dying)
        with pytest.raises(Killed):
            run_trial(job, recorder, data)
    assert not recorder.results
    return recorder


def same(one, other):
    """Equal but for the moment."""
    return [{k: v for k, v in vars(a).items() if k != "reported_at"} for a in one] == [
        {k: v for k, v in vars(b).items() if k != "reported_at"} for b in other
    ]


BEFORE_STATE = (callback, "save_state", True)
AFTER_STATE = (callback, "save_state", False)
AFTER_BEST = (callback, "save_per_query", False)


@pytest.fixture(scope="module")
def reference(tiny_static, make_config, data, tmp_path_factory):
    """`undisturbed(sampler)`: the job and the recorder of the same trial without any fault, run once a sampler."""

    @functools.cache
    def run(sampler):
        job, recorder = (
            to_job(make_config, tmp_path_factory.mktemp(sampler), f"train.batch_sampler={sampler}"),
            Recorder(),
        )
        run_trial(job, recorder, data)
        return job, recorder

    return run


MOMENTS = {"before": BEFORE_STATE, "between": AFTER_STATE, "after": AFTER_BEST}
BY_DAY = (("before", 1), ("between", 3), ("after", 4))


@pytest.mark.parametrize(
    ("sampler", "crash_point", "rung"),
    [
        *(
            pytest.param(
                "no_duplicates", crash_point, rung, marks=[] if (crash_point, rung) in BY_DAY else pytest.mark.nightly
            )
            for crash_point in MOMENTS
            for rung in (1, 3, 4)
        ),
        ("batch_sampler", "between", 3),
    ],
)
def test_the_end_is_that_of_a_trial_that_never_died(monkeypatch, make_job, data, reference, sampler, crash_point, rung):
    whole_job, whole = reference(sampler)
    job = make_job(f"train.batch_sampler={sampler}")
    first = run_and_kill(monkeypatch, job, data, MOMENTS[crash_point], rung)
    second = Recorder()
    run_trial(job, second, data)

    (result,) = second.results
    assert result.outcome == Outcome.COMPLETE
    assert (result.best_objective, result.best_scores) == (
        whole.results[0].best_objective,
        whole.results[0].best_scores,
    )
    output = [*second.started[0].earlier, *second.reports]
    assert same(output, whole.reports), "together with what it was told before, everything was said"
    assert len(second.reports) <= len(FRACTIONS) - len(first.reports) + 1, "at most the last one is said again"
    assert (job.best / "manifest.json").read_text() == (whole_job.best / "manifest.json").read_text()
    assert job.values.read_bytes() == whole_job.values.read_bytes()


def test_a_report_is_handed_over_again_word_for_word(monkeypatch, make_job, data):
    job = make_job()
    first = run_and_kill(monkeypatch, job, data, (Recorder, "report", False), 2)
    second = Recorder()
    run_trial(job, second, data)
    assert second.started[0].earlier == (first.reports[0],)
    assert second.reports[0] == first.reports[1], "the time included"


def test_nothing_is_trained_behind_the_last_report(monkeypatch, make_job, data):
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, len(FRACTIONS))
    monkeypatch.setattr(
        "sentence_transformers.sentence_transformer.trainer.SentenceTransformerTrainer.train",
        lambda *_, **__: pytest.fail("trained again"),
    )
    second = Recorder()
    run_trial(job, second, data)
    assert second.results[0].outcome == Outcome.COMPLETE


def test_a_stop_that_was_not_heard_is_heard_the_next_time(monkeypatch, make_job, data):
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 2)
    second = Recorder(stop_at=0.5)
    run_trial(job, second, data)
    assert [r.fraction for r in second.reports] == [0.5]
    assert second.results[0].outcome == Outcome.STOPPED


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def take_up(job, **changes):
    setup = compute_fingerprint(job, resolve_for_this_process(job.config))
    return find_state(job, dataclasses.replace(setup, **changes))


@pytest.mark.parametrize(
    "corrupt_with",
    [
        lambda folder: _flip(folder / "optimizer.pt"),
        lambda folder: os.truncate(folder / "reports.json", 20),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "stray.py").write_text("print('ran')"),
    ],
)
def test_a_spoiled_state_costs_one_step_and_the_record_says_so(monkeypatch, make_job, data, reference, corrupt_with):
    whole_job, whole = reference("no_duplicates")
    job = make_job("train.batch_sampler=no_duplicates")
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 2)
    assert take_up(job) is not None
    corrupt_with(job.state)
    with raises_code(InvalidResumeState, "state-unreadable") as unusable:
        take_up(job)
    second = Recorder()
    run_trial(job, second, data)
    assert second.started[0].facts["used_previous_state"] == str(unusable.value)
    assert same(second.reports, whole.reports), "behind the first, which is said again"
    assert second.results[0].outcome == Outcome.COMPLETE
    assert (job.best / "manifest.json").read_text() == (whole_job.best / "manifest.json").read_text()
    assert job.values.read_bytes() == whole_job.values.read_bytes()


def test_a_state_of_other_training_is_not_used(monkeypatch, make_job, data):
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 1)
    other = job.config.model_copy(update={"train": job.config.train.model_copy(update={"seed": 7})})
    for differs in ({"fold": 1}, {"config": other}):
        with raises_code(InvalidResumeState, "other-setup"):
            take_up(job.model_copy(update=differs))
    for change in ({"workers": 2}, {"hardware": "a bigger GPU"}, {"libraries": "torch 9"}):
        with raises_code(InvalidResumeState, "other-setup"):
            take_up(job, **change)
    assert take_up(job.model_copy(update={"attempt": 2})) is not None


def test_a_crash_between_two_renames_is_mended(monkeypatch, make_job, data):
    """A file system that cannot exchange names: the state has lost its name for a moment."""
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 2)
    job.state.rename(job.state.with_name(".state.0123abcd.old"))
    assert len(take_up(job).reports) == 2


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("failed writing file")])
def test_a_full_disk_costs_the_state_and_not_the_trial(monkeypatch, make_job, data, error):
    def full(*_):
        raise error

    job, recorder = make_job(), Recorder()
    with monkeypatch.context() as patched:
        patched.setattr(states, "write_folder", full)
        run_trial(job, recorder, data)
    assert recorder.results[0].outcome == Outcome.COMPLETE
    assert not job.state.exists()


def test_behind_a_full_disk_it_goes_on_from_the_state_before(monkeypatch, make_job, data, reference):
    """The second state and all behind it have no room; the weights of the best, which are smaller, have."""
    whole_job, whole = reference("no_duplicates")
    job, calls, real = make_job("train.batch_sampler=no_duplicates"), count(1), states.write_folder

    def full(*args, **kwargs):
        if next(calls) > 1:
            raise OSError(28, "No space left on device")
        real(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(states, "write_folder", full)
        run_and_kill(patched, job, data, AFTER_BEST, 3)
    with raises_code(InvalidResumeState, "state-not-kept") as unusable:
        take_up(job)
    second = Recorder()
    run_trial(job, second, data)
    assert second.started[0].facts["used_previous_state"] == str(unusable.value)
    assert same(second.reports, whole.reports)
    assert (job.best / "manifest.json").read_text() == (whole_job.best / "manifest.json").read_text()


def test_an_attempt_that_was_cut_off_writes_nothing_any_more(monkeypatch, make_job, data):
    """The machine of the first attempt was taken for dead; the second one has begun when the first evaluates again."""
    job = make_job()

    class Overtaken(Recorder):
        def report(self, report):
            acquire_fence(job.model_copy(update={"attempt": 2}))
            return super().report(report)

    first = Overtaken()
    with pytest.raises(StaleAttempt):
        run_trial(job, first, data)
    assert [r.fraction for r in first.reports] == [0.25]
    assert not first.results, "it does not fail the trial either"
    with pytest.raises(StaleAttempt):
        run_trial(job, Recorder(), data)
    second = Recorder()
    run_trial(job.model_copy(update={"attempt": 2}), second, data)
    assert second.results[0].outcome == Outcome.COMPLETE


def test_a_state_holds_no_pickle_that_could_run_code(monkeypatch, make_job, data):
    import torch

    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 1)
    names = {path.name for path in job.state.rglob("*") if path.is_file()}
    assert "training_args.bin" not in names
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(job.state / name, weights_only=True)
