"""Ten times SIGKILL in the midst of training: each time the trial goes on from its last state, and ends as ever.

A warm process forks one child for each attempt; the child trains for real and kills itself.
"""

import gc
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from embsweep.training.callback import EvaluationCallback
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted, from_text, to_text
from embsweep.training.trial import run_trial

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

KILLS = 10
STEPS_A_RUNG = 3
FRACTIONS = [rung / (KILLS + 1) for rung in range(1, KILLS + 1)] + [1.0]


class _File:
    """A reporter whose words outlive their process."""

    def __init__(self, path):
        self._path = path

    def _write(self, message):
        with Path(self._path).open("a") as file:
            file.write(to_text(message) + "\n")

    def report(self, report):
        self._write(report)
        return False

    start = finish = _write


def run_attempts(job, data, received, kills):
    """Exit statuses of all attempts, the last of which is left alone."""
    received.mkdir()
    statuses = []
    for attempt in range(1, kills + 2):
        child = os.fork()
        if child == 0:
            if attempt <= kills:
                _die_behind_rung(attempt)
            run_trial(job.model_copy(update={"attempt": attempt}), _File(received / f"{attempt:02d}"), data)
            os._exit(0)
        statuses.append(os.waitpid(child, 0)[1])
    return statuses


def run_both(killed, whole, data):
    """The statuses of a trial that dies `KILLS` times, and of one that never does.

    Called in a process that does nothing else: whoever forks must have no threads of other tests.
    """
    import sentence_transformers  # noqa: F401 -- once for all children
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    gc.collect()
    gc.freeze()  # what was imported is no child's to look through again
    return run_attempts(killed, data, Path(f"{killed.folder}-heard"), KILLS), run_attempts(
        whole, data, Path(f"{whole.folder}-heard"), 0
    )


def _die_behind_rung(rung):
    """SIGKILL one to three steps behind a rung: the last of these is the next rung, before its state is written."""
    last, evaluate = rung * STEPS_A_RUNG + 1 + rung % STEPS_A_RUNG, EvaluationCallback.on_step_end

    def dying(callback, args, state, control, **kwargs):
        if state.global_step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        evaluate(callback, args, state, control, **kwargs)

    EvaluationCallback.on_step_end = dying


def read_heard(job):
    """What was heard of each attempt."""
    paths = sorted(Path(f"{job.folder}-heard").iterdir())
    return [[from_text(line) for line in path.read_text().splitlines()] for path in paths]


@pytest.fixture
def make_job(make_config, tiny_model, tmp_path):
    steps = STEPS_A_RUNG * len(FRACTIONS)
    config = make_config(
        *(*tiny_model, "train.batch_size=8", f"train.epochs={steps / 5}", "train.learning_rate=1e-2"),
        f"eval.fractions={FRACTIONS}",
    )
    return lambda name: TrialSpec(number=3, attempt=1, config=config.trial, folder=str(tmp_path / name))


def fractions(messages):
    return [message.fraction for message in messages if isinstance(message, TrialReport)]


def test_it_goes_on_each_time_and_ends_as_if_nothing_had_happened(make_job, data):
    job, reference = make_job("killed"), make_job("whole")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        statuses = pool.submit(run_both, job, reference, data).result(timeout=300)
    assert statuses == ([signal.SIGKILL] * KILLS + [0], [0])
    attempts, (whole,) = read_heard(job), read_heard(reference)

    for before, after in pairwise(attempts):
        assert isinstance(after[0], TrialStarted)
        assert after[0].facts.get("restarted") is None
        logged = [*after[0].earlier, after[1]]
        assert [r.fraction for r in logged] == FRACTIONS[: len(logged)]
        assert logged[-1] == before[-1], "the last report again, word for word"
        assert max(fractions(after)) > max(fractions(before)), "each attempt gets further"
    last, expected = attempts[-1][-1], whole[-1]
    assert isinstance(last, TrialResult)
    assert last.outcome == Outcome.COMPLETE
    assert (last.best_objective, last.best_scores) == (expected.best_objective, expected.best_scores)
    output = {r.fraction: r for attempt in attempts for r in attempt if isinstance(r, TrialReport)}
    for report in whole[1:-1]:
        again = output[report.fraction]
        assert (again.objective, again.loss, again.scores) == (report.objective, report.loss, report.scores)
    assert (job.best / "manifest.json").read_bytes() == (reference.best / "manifest.json").read_bytes()
