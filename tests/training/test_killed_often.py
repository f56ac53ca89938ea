"""A trial killed ten times by SIGKILL in training resumes from its last state each time; its result is unchanged.

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
from embsweep.training.messages import MESSAGE, Outcome, TrialReport, TrialResult, TrialSpec, TrialStarted
from tests.training.recorder import run_trial

pytestmark = [pytest.mark.slow, pytest.mark.nightly]

KILLS = 10
STEPS_A_RUNG = 3
FRACTIONS = [rung / (KILLS + 1) for rung in range(1, KILLS + 1)] + [1.0]


class _FileReporter:
    """A reporter that appends every message to a file, so that it survives the process."""

    def __init__(self, path):
        self._path = path

    def _write(self, message):
        with Path(self._path).open("a") as file:
            file.write(MESSAGE.dump_json(message).decode() + "\n")

    def report(self, report):
        self._write(report)
        return False

    start = finish = _write


def run_attempts(job, data, messages_folder, kills):
    """Return the exit statuses of all attempts; all but the last one kill themselves."""
    messages_folder.mkdir()
    statuses = []
    for attempt in range(1, kills + 2):
        child = os.fork()
        if child == 0:
            if attempt <= kills:
                _die_after_rung(attempt)
            reporter = _FileReporter(messages_folder / f"{attempt:02d}")
            run_trial(job.model_copy(update={"attempt": attempt}), reporter, data)
            os._exit(0)
        statuses.append(os.waitpid(child, 0)[1])
    return statuses


def run_both(killed, uninterrupted, data):
    """Return the statuses of a trial that is killed `KILLS` times, and of one that is never killed.

    Called in a separate process, because a process that forks must have no threads of other tests.
    """
    import sentence_transformers  # noqa: F401 -- once for all children
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    gc.collect()
    gc.freeze()  # the garbage collector of a child skips what was imported
    return run_attempts(killed, data, Path(f"{killed.folder}-messages"), KILLS), run_attempts(
        uninterrupted, data, Path(f"{uninterrupted.folder}-messages"), 0
    )


def _die_after_rung(rung):
    """Die by SIGKILL one to three steps after a rung; the third is the next rung, before its state is written."""
    last, evaluate = rung * STEPS_A_RUNG + 1 + rung % STEPS_A_RUNG, EvaluationCallback.on_step_end

    def dying(callback, args, state, control, **kwargs):
        if state.global_step == last:
            os.kill(os.getpid(), signal.SIGKILL)
        evaluate(callback, args, state, control, **kwargs)

    EvaluationCallback.on_step_end = dying


def read_messages(job):
    """Return the messages of each attempt."""
    paths = sorted(Path(f"{job.folder}-messages").iterdir())
    return [[MESSAGE.validate_json(line) for line in path.read_text().splitlines()] for path in paths]


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


def test_trial_resumes_after_every_kill_with_the_same_result(make_job, data):
    job, reference = make_job("killed"), make_job("uninterrupted")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        statuses = pool.submit(run_both, job, reference, data).result(timeout=300)
    assert statuses == ([signal.SIGKILL] * KILLS + [0], [0])
    attempts, (uninterrupted,) = read_messages(job), read_messages(reference)

    for before, after in pairwise(attempts):
        assert isinstance(after[0], TrialStarted)
        assert after[0].facts.get("restarted") is None
        repeated = [*after[0].earlier, after[1]]
        assert [r.fraction for r in repeated] == FRACTIONS[: len(repeated)]
        assert repeated[-1] == before[-1], "the last report is repeated unchanged"
        assert max(fractions(after)) > max(fractions(before)), "each attempt gets further"
    last, expected = attempts[-1][-1], uninterrupted[-1]
    assert isinstance(last, TrialResult)
    assert last.outcome == Outcome.COMPLETE
    assert last.best_objective == expected.best_objective
    output = {r.fraction: r for attempt in attempts for r in attempt if isinstance(r, TrialReport)}
    for report in uninterrupted[1:-1]:
        again = output[report.fraction]
        assert (again.objective, again.loss, again.scores) == (report.objective, report.loss, report.scores)
    assert (job.best / "manifest.json").read_bytes() == (reference.best / "manifest.json").read_bytes()
