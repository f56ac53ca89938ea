"""What happened in a search, read from its ledger: values, times of attempts, ranks and what mattered."""

import hashlib

import pytest

from embsweep.config.search_space import Choice, FloatRange, IntRange
from embsweep.config.sweep import StoppingConfig
from embsweep.reports.html.search_history import Attempt
from embsweep.search.confirmation import ConfirmationLedger
from embsweep.search.fidelity import rung_values
from embsweep.search.read import read_ledger, read_space, to_dimension
from embsweep.search.record import FACTS, HAS_RECIPE, RUNGS
from embsweep.search.search import to_distribution
from embsweep.search.storage import open_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.search_history import LedgerClock, find_last_event, list_attempts, read_search_history
from tests.ledgers import Database, open_search, report_at
from tests.sweep.test_projection import runs_to, trial

RATE, LOSS = FloatRange("train.learning_rate", 1e-6, 1e-4, log=True), Choice("loss", ("mnrl", "gist"))
NOTES = {
    **{"name": "s", "title": "", "objective": "mean map@100", "requested_trials": 4, "slots": 2, "study_id": "0a"},
    **{"identity": {"objective.metric": "map@100"}, "baseline": {"objective": 0.1}, "status": "RUNNING"},
    HAS_RECIPE: True,
}
CLOCK = LedgerClock(100.0)


def started(*times, **more):
    """Return the facts of starts at these times."""
    return {f"{FACTS}{n}": {"started_at": at, "device": "cpu"} for n, at in enumerate(times, start=1)} | more


def spans(record, clock=CLOCK):
    return [(attempt.start, attempt.end, attempt.is_open) for attempt in list_attempts(record, clock)]


QUARTER, HALF = report_at(0.25, 0.2, at=10.0), report_at(0.5, 0.6, at=40.0)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (trial("complete", QUARTER, HALF, **started(5.0, ended_at=45.0)), [(5, 45, False)]),
        (trial("stopped", QUARTER, HALF, **started(5.0, 35.0, ended_at=41.0)), [(5, 10, False), (35, 41, False)]),
        (trial("running", QUARTER, **started(5.0, 12.0)), [(5, 10, False), (12, 100, True)]),
        (trial("running", QUARTER, **started(5.0, ended_at=11.0), **runs_to(500, promoted=True)), [(5, 11, False)]),
        (trial("failed", **started(5.0, 20.0, ended_at=30.0)), [(5, 5, False), (20, 30, False)]),
        (trial("running"), []),
    ],
    ids=["ended", "paused between", "was lost, runs again", "promoted, not started", "no report", "never started"],
)
def test_a_run_has_an_attempt_for_each_start(record, expected):
    assert spans(record) == expected


def test_an_attempt_ended_at_the_latest_when_its_sweep_was_interrupted():
    assert spans(trial("running", QUARTER, **started(5.0)), LedgerClock(10.0, 25.0)) == [(5, 25, False)]


def test_the_last_event_is_of_any_kind():
    assert find_last_event([trial("complete", QUARTER, **started(5.0, ended_at=45.0)), trial("running")]) == 45
    assert find_last_event([trial("running", QUARTER, HALF, **started(5.0))]) == 40
    assert find_last_event([]) == 0


@pytest.mark.parametrize(
    "dimension",
    [
        *(RATE, LOSS, FloatRange("x", 0.0, 1.0), FloatRange("x", 0.0, 1.0, step=0.25)),
        *(IntRange("n", 1, 9), IntRange("n", 8, 64, step=8), IntRange("n", 1, 100, log=True)),
    ],
    ids=str,
)
def test_a_dimension_is_read_as_it_was_written(dimension):
    assert to_dimension(dimension.key, to_distribution(dimension)) == dimension


@pytest.fixture
def folder(tmp_path):
    """Folder of a sweep with an empty ledger."""
    Database(SweepFolder(tmp_path, "s").ledger)
    return SweepFolder(tmp_path, "s")


CURVES = ((0.2, 0.3, 0.4), (0.1, 0.2, 0.3), (0.3, 0.35, 0.45), (0.25, 0.3, 0.35))


def run_search(folder, **notes):
    """Search with promotion in five turns of ten seconds: of trials 1 to 3, the best one goes on after its pause."""
    stopping = StoppingConfig(kind="promotion", min_fraction=0.25)
    recipe = {RATE.key: 1e-5, LOSS.key: "mnrl"}
    ledger = open_search(open_storage(folder.ledger), (RATE, LOSS), stopping=stopping, recipe=recipe, trials=5)
    ledger.set_metadata(**{**NOTES, **notes})
    for turn in range(5):
        number, last, until = (record := ledger.ask()).number, record.fraction, record.runs_until
        start = {f"{FACTS}{len(record.all_facts) + 1}": {"started_at": 10.0 * turn, "device": "cpu"}}
        ledger.set_attributes(number, **start)
        for fraction, value in zip((0.25, 0.5, 1.0), CURVES[number], strict=True):
            if last < fraction <= until:
                ledger.record_report(number, report_at(fraction, value, at=10 * (turn + fraction) - 2))
        ledger.set_attributes(number, ended_at=10.0 * turn + 9)
        ledger.complete(number, CURVES[number][-1]) if until == 1 else ledger.stop(number)
    return ledger


@pytest.mark.slow
def test_the_history_has_the_values_of_the_ledger(folder):
    run_search(folder)
    metadata, records = read_ledger(folder.ledger)
    before = hashlib.sha256(folder.ledger.read_bytes()).hexdigest()
    history = read_search_history(folder)
    assert hashlib.sha256(folder.ledger.read_bytes()).hexdigest() == before, "a report changes nothing"
    assert history.space == (RATE, LOSS)
    assert [(t.number, t.state, t.objective, t.fraction, t.params) for t in history.trials] == [
        (r.number, r.state, r.best, r.fraction, r.params) for r in records
    ]
    assert [t.scores for t in history.trials] == [{64: r.scores[64]["map@100"]} for r in records]
    assert history.rungs == tuple(step / 1000 for step in metadata[RUNGS])
    assert [t.at_rungs for t in history.trials] == rung_values([r.reached for r in records], metadata[RUNGS])
    assert history.trials[0].attempts == (Attempt(0.0, 9.0, "cpu"),)
    (promoted,) = (trial for trial in history.trials if len(trial.attempts) == 2)
    first, second = promoted.attempts
    assert (first.end, second.end) == (first.start + 0.5, second.start + 9), "it paused after its report at a quarter"
    assert [trial.state for trial in history.trials if trial is not promoted] == ["complete", "paused", "paused"]
    assert (history.recipe, history.leader, history.best) == (history.trials[0], promoted, promoted)
    assert not any(t.is_winner for t in history.trials), "the sweep is running"
    (reason,) = {target.reason for target in history.importance}
    assert reason == f"too few trials to say ({len(records)} with a value, at least 20 are needed)"


@pytest.mark.slow
def test_a_finished_sweep_has_a_winner_finalists_and_what_mattered(folder):
    stored = {"objective": {"trials": 30, "shares": {RATE.key: {"share": 1.0, "low": 0.5, "high": 1.0}}, "reason": ""}}
    run_search(folder, status="FINISHED", ended_at=90.0, importance=stored, result={"winner": 0})
    confirmation = ConfirmationLedger(open_storage(folder.ledger), "confirmation", [{"trial": 2, "seed": 7}])
    record = confirmation.ask()
    confirmation.record_report(record.number, report_at(1.0, 0.35))
    confirmation.set_attributes(record.number, ended_at=80.0)
    confirmation.complete(record.number, 0.35)
    history = read_search_history(folder)
    assert [t.number for t in history.trials if t.is_winner] == [0]
    assert [t.number for t in history.trials if t.is_finalist] == [0, 2]
    assert (history.leader.number, history.best.number) == (0, 2)
    (run,) = history.confirmation
    assert (run.trial, run.seed, run.fold, run.state, run.objective) == (2, 7, None, "complete", 0.35)
    (target,) = history.importance
    assert (target.trials, target.shares[RATE.key].low) == (30, 0.5)


def test_a_sweep_that_has_recorded_nothing_has_no_history(folder, tmp_path):
    assert read_search_history(SweepFolder(tmp_path, "unknown")) is None
    assert read_search_history(folder) is None
    assert read_space(folder.ledger) == ()


@pytest.mark.slow
def test_a_failed_trial_is_not_compared_at_the_rungs(folder):
    ledger = run_search(folder)
    record = ledger.ask()
    ledger.record_report(record.number, report_at(0.25, 0.9, at=50.0))
    ledger.set_attributes(record.number, ended_at=51.0)
    ledger.fail(record.number, "out of memory")
    failed = read_search_history(folder).trials[record.number]
    assert (failed.state, failed.objective, failed.at_rungs, failed.can_win) == ("failed", 0.9, {}, False)
