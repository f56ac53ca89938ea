"""Schedulers of a search over a ledger in memory, and trials that report given scores."""

import functools
import math

import pytest

from embsweep.config.search_space import Choice, FloatRange
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.sweep.phase import search_phase
from embsweep.sweep.scheduler import SweepScheduler
from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted
from tests.ledgers import Database, Memory
from tests.mocks import make_mocks

SPACE = (FloatRange("train.learning_rate", 1e-6, 1e-4), Choice("matryoshka", ("halving", "coarse")))
FRACTIONS = (0.25, 0.5, 1.0)


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

    The ledger is in memory; `make_scheduler.storage = Database(…)` puts it on disk.
    """

    def make(trials=6, stopping="none", configure=None, *, has_lost_records=False, keep_recipe=False, **limits):
        config = limited(**limits)
        search = SearchConfig(sampler="random", trials=trials, seed=1, recipe_first=False)
        pruner = build_pruner(StoppingConfig(kind=stopping), 0.25)
        ledger = Ledger.from_storage(make.storage.open(), space=SPACE, search=search, pruner=pruner)
        ledger.set_metadata(name="s", title="", objective="", requested_trials=trials, slots=1)
        tracking, progress = make_mocks(record_count=7, has_lost_records=has_lost_records)
        phase = search_phase(tmp_path / "trials", config, keep_recipe=keep_recipe)
        return SweepScheduler(ledger, tracking, progress, configure or (lambda record: config), phase)

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
                return TrialResult(Outcome.STOPPED, best, None, str(job.best), float(step))
        return TrialResult(Outcome.COMPLETE, best, None, str(job.best), 9.0)

    return trial_fn


def report_at(fraction, value, best=None, best_fraction=None, at=1.0):
    best, best_fraction = best or value, best_fraction or fraction
    step = round(fraction * 4)
    return TrialReport(fraction, step, fraction, value, best, best_fraction, {64: {"map@100": value}}, 0.1, 1e-5, at)
