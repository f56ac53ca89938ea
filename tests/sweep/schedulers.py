"""Schedulers of a search over a ledger in memory, what their listeners receive, and trials that report given scores."""

import functools
import math
from unittest.mock import create_autospec

import pytest

from embsweep.config.search_space import Choice, FloatRange
from embsweep.reports.progress import Progress
from embsweep.sweep.context import tell_events
from embsweep.sweep.scheduler import SweepScheduler, search_phase
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted
from tests.ledgers import Database, Memory, open_search

SPACE = (FloatRange("train.learning_rate", 1e-6, 1e-4), Choice("matryoshka", ("halving", "coarse")))
FRACTIONS = (0.25, 0.5, 1.0)
METADATA = {
    **{"name": "s", "title": "", "objective": "", "slots": 1, "study_id": "0a1b", "status": "RUNNING"},
    "tracking": {
        "started_at": 0.5,
        "identity": {"name": "s", "base_model": "static", "rehearsal": False, "rehearses": None},
        "dataset": {"name": "d", "fingerprint": "f", "source": "", "sizes": {"passages": 9}},
        "params": {"space": {"lr": "interval 0 to 1"}, "search": {"sampler": "random"}},
        "tags": {"embsweep.command": "python run_sweep.py"},
        "texts": {"config/resolved.yaml": "x: 1"},
    },
}
"""Metadata of a search's ledger, as a sweep writes it."""


class Heard:
    """What the listeners of a scheduler have received: events as text, states of MLflow's runs, and views."""

    def __init__(self):
        self.events = []
        self.states = []
        self.progress = create_autospec(Progress, instance=True)

    def put(self, *states):
        self.states += states

    def listeners(self, ledger):
        """Return the listeners of a sweep, which write to this object."""

        def hear(record, event):
            self.events.append((record.number, event))

        return hear, tell_events(self.progress, self, ledger, ledger)

    def last(self, number):
        """Return the last state of the MLflow run of one trial."""
        return next(state for state in reversed(self.states) if state.key[1] == number)


@pytest.fixture(scope="session")
def limited(make_config):
    """Return `make(**limits)`: the configuration with limits (`keep_checkpoints=2`) and one finalist, composed once."""

    @functools.cache
    def make(finalists=1, **limits):
        return make_config(f"confirm.finalists={finalists}", *(f"sweep.{key}={value}" for key, value in limits.items()))

    return make


@pytest.fixture
def make_scheduler(limited, tmp_path):
    """Return `make(…)`: a scheduler over the test's ledger; another call acts as another process that resumes it.

    The ledger is in memory; `make_scheduler.storage = Database(…)` puts it on disk. `heard` receives what the listeners
    are told.
    """

    def make(trials=6, stopping="none", configure=None, *, heard=None, keep_recipe=False, **limits):
        config = limited(**limits)
        ledger = open_search(make.storage.open(), SPACE, stopping=stopping, trials=trials, seed=1)
        ledger.set_metadata(**METADATA, requested_trials=trials)
        phase = search_phase(tmp_path / "trials", config, keep_recipe=keep_recipe)
        listeners = (heard or Heard()).listeners(ledger)
        return SweepScheduler(ledger, configure or (lambda record: config), phase, listeners)

    make.storage = Memory()
    return make


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.slow)])
def make_persistent_scheduler(request, make_scheduler, tmp_path):
    """`make_scheduler` over a ledger in memory, and over a database that each call opens anew."""
    if request.param == "database":
        make_scheduler.storage = Database(tmp_path / "study.db")
    return make_scheduler


def scripted(score=lambda number, fraction: number + fraction, fail=()):
    """Return a trial function that reports `score(number, fraction)` and writes weights when it improves."""

    def trial_fn(job, reporter):
        reporter.start(TrialStarted(1, "here", 0.0, 0.1, 0.0))
        best = -math.inf
        for step, fraction in enumerate(FRACTIONS, start=1):
            if job.number in fail:
                return TrialResult.failed("scripted")
            value = score(job.number, fraction)
            if value > best:
                best, best_fraction = value, fraction
                job.best.mkdir(parents=True, exist_ok=True)
            scores = {64: {"map@100": value}}
            if reporter.report(
                TrialReport(fraction, step, fraction, value, best, best_fraction, scores, 0.1, 1e-5, float(step))
            ):
                return TrialResult(Outcome.STOPPED, best, str(job.best), float(step))
        return TrialResult(Outcome.COMPLETE, best, str(job.best), 9.0)

    return trial_fn
