"""A trial that dies at any point resumes from its last evaluation and ends with the result of an uninterrupted run."""

import functools
import os
from itertools import count
from pathlib import Path

import pytest

from embsweep.training import callback
from embsweep.training import resume as states
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import InvalidResumeState, StaleAttempt, acquire_fence, compute_fingerprint, find_state
from tests.refusals import raises_code
from tests.training.recorder import Recorder, run_trial

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_static")]

FRACTIONS = (0.25, 0.5, 0.75, 1.0)


class Killed(BaseException):
    """Simulates a SIGKILL: the trial does not handle it."""


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


def run_and_kill(monkeypatch, job, data, where, fatal_call):
    """Run the trial until call number `fatal_call` of `where`: (module, name, True to die before it)."""
    calls = count(1)
    module, name, before = where
    real = getattr(module, name)

    def dying(*args, **kwargs):
        if before and next(calls) == fatal_call:
            raise Killed
        result_of_call = real(*args, **kwargs)
        if not before and next(calls) == fatal_call:
            raise Killed
        return result_of_call

    recorder = Recorder()
    with monkeypatch.context() as patched:
        patched.setattr(module, name, dying)
        with pytest.raises(Killed):
            run_trial(job, recorder, data)
    assert not recorder.results
    return recorder


def same(one, other):
    """Compare reports without their time."""
    return [{k: v for k, v in vars(a).items() if k != "reported_at"} for a in one] == [
        {k: v for k, v in vars(b).items() if k != "reported_at"} for b in other
    ]


BEFORE_STATE = (callback, "save_state", True)
AFTER_STATE = (callback, "save_state", False)
AFTER_BEST = (callback, "save_checkpoint", False)


@pytest.fixture(scope="module")
def reference(tiny_static, make_config, data, tmp_path_factory):
    """`reference(sampler)`: job and recorder of the same trial without a crash, run once per sampler."""

    @functools.cache
    def run(sampler):
        job, recorder = (
            to_job(make_config, tmp_path_factory.mktemp(sampler), f"train.batch_sampler={sampler}"),
            Recorder(),
        )
        run_trial(job, recorder, data)
        return job, recorder

    return run


CRASH_POINTS = {"before": BEFORE_STATE, "between": AFTER_STATE, "after": AFTER_BEST}
DAILY = (("before", 1), ("between", 3), ("after", 4))


@pytest.mark.parametrize(
    ("sampler", "crash_point", "rung"),
    [
        *(
            pytest.param(
                "no_duplicates", crash_point, rung, marks=[] if (crash_point, rung) in DAILY else pytest.mark.nightly
            )
            for crash_point in CRASH_POINTS
            for rung in (1, 3, 4)
        ),
        ("batch_sampler", "between", 3),
    ],
)
def test_resume_ends_like_an_uninterrupted_trial(monkeypatch, make_job, data, reference, sampler, crash_point, rung):
    uninterrupted_job, uninterrupted = reference(sampler)
    job = make_job(f"train.batch_sampler={sampler}")
    first = run_and_kill(monkeypatch, job, data, CRASH_POINTS[crash_point], rung)
    second = Recorder()
    run_trial(job, second, data)

    (result,) = second.results
    assert result.outcome == Outcome.COMPLETE
    assert result.best_objective == uninterrupted.results[0].best_objective
    output = [*second.started[0].earlier, *second.reports]
    assert same(output, uninterrupted.reports), "earlier and new reports together are all reports"
    assert len(second.reports) <= len(FRACTIONS) - len(first.reports) + 1, "at most the last one is repeated"
    assert (job.best / "manifest.json").read_text() == (uninterrupted_job.best / "manifest.json").read_text()
    assert job.values.read_bytes() == uninterrupted_job.values.read_bytes()


def test_resume_repeats_the_last_report_unchanged(monkeypatch, make_job, data):
    job = make_job()
    first = run_and_kill(monkeypatch, job, data, (Recorder, "report", False), 2)
    second = Recorder()
    run_trial(job, second, data)
    assert second.started[0].earlier == (first.reports[0],)
    assert second.reports[0] == first.reports[1], "including its time"


def test_nothing_is_trained_after_the_last_report(monkeypatch, make_job, data):
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, len(FRACTIONS))
    monkeypatch.setattr(
        "sentence_transformers.sentence_transformer.trainer.SentenceTransformerTrainer.train",
        lambda *_, **__: pytest.fail("trained again"),
    )
    second = Recorder()
    run_trial(job, second, data)
    assert second.results[0].outcome == Outcome.COMPLETE


def test_resume_redelivers_a_missed_stop(monkeypatch, make_job, data):
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


def load_state(job, **changes):
    setup = compute_fingerprint(job, resolve_for_this_process(job.config))
    return find_state(job, {**setup, **changes})


@pytest.mark.parametrize(
    "corrupt_with",
    [
        lambda folder: _flip(folder / "optimizer.pt"),
        lambda folder: os.truncate(folder / "reports.json", 20),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "stray.py").write_text("print('ran')"),
    ],
)
def test_trial_with_a_corrupt_state_starts_over_and_records_why(monkeypatch, make_job, data, reference, corrupt_with):
    uninterrupted_job, uninterrupted = reference("no_duplicates")
    job = make_job("train.batch_sampler=no_duplicates")
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 2)
    assert load_state(job) is not None
    corrupt_with(job.state)
    with raises_code(InvalidResumeState, "state-unreadable") as unusable:
        load_state(job)
    second = Recorder()
    run_trial(job, second, data)
    assert second.started[0].facts["restarted"] == str(unusable.value)
    assert second.started[0].earlier == ()
    assert same(second.reports, uninterrupted.reports)
    assert second.results[0].outcome == Outcome.COMPLETE
    assert (job.best / "manifest.json").read_text() == (uninterrupted_job.best / "manifest.json").read_text()
    assert job.values.read_bytes() == uninterrupted_job.values.read_bytes()


def test_a_state_of_other_training_is_not_used(monkeypatch, make_job, data):
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 1)
    other = job.config.model_copy(update={"train": job.config.train.model_copy(update={"seed": 7})})
    for differs in ({"fold": 1}, {"config": other}):
        with raises_code(InvalidResumeState, "other-setup"):
            load_state(job.model_copy(update=differs))
    for change in ({"workers": 2}, {"hardware": "a bigger GPU"}, {"libraries": "torch 9"}):
        with raises_code(InvalidResumeState, "other-setup"):
            load_state(job, **change)
    assert load_state(job.model_copy(update={"attempt": 2})) is not None
    smaller = job.config.model_copy(update={"loss": job.config.loss.model_copy(update={"mini_batch_size": 2})})
    assert load_state(job.model_copy(update={"config": smaller})) is not None, "it changes no gradient"


def test_a_crash_between_two_renames_is_repaired(monkeypatch, make_job, data):
    """On a file system that cannot exchange names, the state has no name between the two renames."""
    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 2)
    job.state.rename(job.state.with_name(".state.0123abcd.old"))
    assert len(load_state(job).reports) == 2


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


OBJECTIVES = {0.25: 0.2, 0.5: 0.1, 0.75: 0.3, 1.0: 0.25}
"""The third evaluation replaces the weights of the first."""


@pytest.mark.parametrize(
    ("crash_point", "restarted"),
    [
        ((callback, "save_per_query", True), False),
        ((callback, "save_checkpoint", True), True),
        ((callback, "save_checkpoint", False), True),
    ],
    ids=["before the scores", "between scores and weights", "after the weights"],
)
def test_after_a_full_disk_a_state_is_used_only_with_its_own_weights(
    monkeypatch, make_job, tmp_path, data, crash_point, restarted
):
    """The third state does not fit on the disk; the best weights, which are smaller, do."""
    to_report, calls, write = callback.EvaluationCallback._to_report, count(1), states.write_folder

    def to_known_report(own, state, fraction, *others):
        monkeypatch.setattr(callback, "compute_objective", lambda *_: OBJECTIVES[fraction])
        return to_report(own, state, fraction, *others)

    def full(*args):
        if next(calls) > 2:
            raise OSError(28, "No space left on device")
        write(*args)

    monkeypatch.setattr(callback.EvaluationCallback, "_to_report", to_known_report)
    job, uninterrupted, second = make_job(), Recorder(), Recorder()
    run_trial(job.model_copy(update={"folder": str(tmp_path / "uninterrupted")}), uninterrupted, data)
    with monkeypatch.context() as patched:
        patched.setattr(states, "write_folder", full)
        run_and_kill(patched, job, data, crash_point, 2)
    run_trial(job, second, data)
    assert ("restarted" in second.started[0].facts) is restarted
    assert same([*second.started[0].earlier, *second.reports], uninterrupted.reports)
    manifests = [
        (folder / "best" / "manifest.json").read_text()
        for folder in map(Path, (job.folder, tmp_path / "uninterrupted"))
    ]
    assert manifests[0] == manifests[1]


def test_a_stale_attempt_writes_nothing(monkeypatch, make_job, data):
    """The machine of the first attempt was assumed lost: the second has begun when the first evaluates again."""
    job = make_job()

    class OvertakenRecorder(Recorder):
        def report(self, report):
            acquire_fence(job.model_copy(update={"attempt": 2}))
            return super().report(report)

    first = OvertakenRecorder()
    with pytest.raises(StaleAttempt):
        run_trial(job, first, data)
    assert [r.fraction for r in first.reports] == [0.25]
    assert not first.results, "it does not fail the trial either"
    with pytest.raises(StaleAttempt):
        run_trial(job, Recorder(), data)
    second = Recorder()
    run_trial(job.model_copy(update={"attempt": 2}), second, data)
    assert second.results[0].outcome == Outcome.COMPLETE


def test_the_trainer_has_the_private_methods_that_write_a_state():
    """`save_state` calls them; it would log their absence, like a full disk, and trials would start over."""
    from sentence_transformers import SentenceTransformerTrainer

    for name in ("_save_optimizer_and_scheduler", "_save_scaler", "_save_rng_state"):
        assert callable(getattr(SentenceTransformerTrainer, name, None)), name


def test_a_state_holds_no_pickle_that_could_run_code(monkeypatch, make_job, data):
    import torch

    job = make_job()
    run_and_kill(monkeypatch, job, data, AFTER_BEST, 1)
    names = {path.name for path in job.state.rglob("*") if path.is_file()}
    assert "training_args.bin" not in names
    for name in ("optimizer.pt", "scheduler.pt"):
        torch.load(job.state / name, weights_only=True)
