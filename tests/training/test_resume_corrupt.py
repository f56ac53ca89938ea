"""Truncated or altered files of a trial: detected by hash, not used, and the facts record what was done instead."""

import os
import shutil
from functools import partial

import pytest

from embsweep.training import callback
from embsweep.training.hardware import resolve_for_this_process
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import InvalidResumeState, compute_fingerprint, find_state
from tests.refusals import raises_code
from tests.training.recorder import Recorder, run_trial

pytestmark = pytest.mark.slow

FRACTIONS = [0.25, 0.5, 1.0]


def truncate(name):
    return lambda folder: os.truncate(folder / name, (folder / name).stat().st_size // 2)


def zero(name):
    """Zero a block in the middle, as after a power failure: the size is still right."""

    def corrupt_with(folder):
        with (folder / name).open("r+b") as file:
            file.seek((folder / name).stat().st_size // 2)
            file.write(bytes(4096))

    return corrupt_with


def write(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def remove(name):
    return lambda folder: (folder / name).unlink()


WEIGHTS = "model.safetensors"
CORRUPTED = {
    "half the weights": truncate(WEIGHTS),
    "a block of zeros": zero(WEIGHTS),
    "no weights": remove(WEIGHTS),
    "garbage": write(WEIGHTS, b"\x00\xff garbage"),
    "no manifest": remove("manifest.json"),
    "half a manifest": truncate("manifest.json"),
    "an empty manifest": write("manifest.json", b""),
    "a manifest of garbage": write("manifest.json", b"\xff\xfe\x00["),
    "a deeply nested manifest": write("manifest.json", b"[" * 100_000),
    "a manifest of other content": write("manifest.json", b'{"files": {"a": 1, "../b": null}}'),
    "one file more": write("stray.py", b"print('ran')"),
}


def replace_by_a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("a file in its place")


def stopped_trial(make_tiny, data, folder, objectives, fractions=FRACTIONS, stop_at=0.5):
    """Leave a trial on disk as after a crash behind `stop_at`; its evaluations have these `objectives`."""
    config = make_tiny("train.batch_size=8", "train.epochs=2", f"eval.fractions={fractions}")
    job, left = TrialSpec(number=3, attempt=1, config=config.trial, folder=str(folder)), iter(objectives)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callback, "compute_objective", lambda *_: next(left))
        run_trial(job, Recorder(stop_at=stop_at), data)
    return job


@pytest.fixture(scope="module")
def make_tiny(make_config, tiny_model):
    return partial(make_config, *tiny_model)


@pytest.fixture(scope="module")
def rising(make_tiny, data, tmp_path_factory):
    """A trial whose best weights are those of its state."""
    return stopped_trial(make_tiny, data, tmp_path_factory.mktemp("rising") / "trial", [0.1, 0.2])


@pytest.fixture(scope="module")
def falling(make_tiny, data, tmp_path_factory):
    """A trial whose best weights are those of its first evaluation, stored only in `best`."""
    return stopped_trial(make_tiny, data, tmp_path_factory.mktemp("falling") / "trial", [0.2, 0.1])


@pytest.fixture
def copy_of(tmp_path):
    def copy(job):
        shutil.copytree(job.folder, tmp_path / "trial")
        return job.model_copy(update={"folder": str(tmp_path / "trial"), "attempt": 2})

    return copy


def load_state(job):
    return find_state(job, compute_fingerprint(job, resolve_for_this_process(job.config)))


@pytest.mark.parametrize("kind", CORRUPTED)
def test_corrupt_state_is_detected(rising, copy_of, kind):
    job = copy_of(rising)
    assert len(load_state(job).reports) == 2
    CORRUPTED[kind](job.state)
    with raises_code(InvalidResumeState, "state-unreadable"):
        load_state(job)


@pytest.mark.parametrize("kind", CORRUPTED)
def test_corrupt_best_weights_are_detected_unless_the_state_holds_them(rising, falling, copy_of, kind, tmp_path):
    job = copy_of(falling)
    assert len(load_state(job).reports) == 2
    CORRUPTED[kind](job.best)
    with raises_code(InvalidResumeState, "best-unreadable"):
        load_state(job)
    shutil.rmtree(job.folder)
    other = copy_of(rising)
    CORRUPTED[kind](other.best)
    assert len(load_state(other).reports) == 2, "the state has the weights"


@pytest.mark.parametrize(
    "corrupt_with", [truncate("per_query.npz"), write("per_query.npz", b""), remove("per_query.npz")]
)
def test_corrupt_per_query_scores_are_detected(falling, copy_of, corrupt_with):
    job = copy_of(falling)
    corrupt_with(job.best.parent)
    with raises_code(InvalidResumeState, "best-unreadable") as caught:
        load_state(job)
    assert "per_query.npz" in str(caught.value)


@pytest.mark.parametrize(
    ("corrupt_with", "code"),
    [
        (lambda job: CORRUPTED["a block of zeros"](job.state), "state-unreadable"),
        (lambda job: replace_by_a_file(job.state), "state-unreadable"),
        (lambda job: CORRUPTED["no manifest"](job.best), "best-unreadable"),
    ],
)
def test_trial_starts_over_and_records_why(falling, copy_of, data, corrupt_with, code):
    job, recorder = copy_of(falling), Recorder()
    corrupt_with(job)
    with raises_code(InvalidResumeState, code) as unusable:
        load_state(job)
    run_trial(job, recorder, data)
    (started,), (result,) = recorder.started, recorder.results
    assert started.facts["restarted"] == str(unusable.value)
    assert started.earlier == ()
    assert [r.fraction for r in recorder.reports] == FRACTIONS
    assert result.outcome == Outcome.COMPLETE
    assert [path.name for path in job.best.parent.glob(".*")] == [], "no temporary files are left"


def test_corrupt_best_weights_are_rewritten_from_the_state(rising, copy_of, data):
    from embsweep.training.checkpoint import check_checkpoint

    job, recorder = copy_of(rising), Recorder(stop_at=0.5)
    CORRUPTED["half the weights"](job.best)
    run_trial(job, recorder, data)
    assert [r.fraction for r in recorder.reports] == [0.5]
    check_checkpoint(job.best)
    assert (job.best / "manifest.json").read_bytes() == (rising.best / "manifest.json").read_bytes()
