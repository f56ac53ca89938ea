"""The ledger of a search with promotion: pauses, promotions and the end survive a crash at any write."""

import pytest
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from tests.ledgers import Database, Memory, report_at

from embsweep.config.search_space import FloatRange, IntRange
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.factory import open_search_ledger

SPACE = (FloatRange("x", 0.0, 1.0), IntRange("n", 1, 9))
RECIPE = {"x": 0.5, "n": 3}
FRACTIONS = (0.25, 0.5, 1.0)
WRITES = (
    "create_new_trial",
    "set_trial_user_attr",
    "set_trial_intermediate_value",
    "set_trial_state_values",
    "set_study_user_attr",
)


class Killed(BaseException):
    """The process was killed before a write."""


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.slow)])
def storage(request, tmp_path):
    return Memory() if request.param == "memory" else Database(tmp_path / "study.db")


def open_ledger(storage, *, trials=10, recipe=RECIPE, finalists=2, sampler="random", **search):
    return open_search_ledger(
        storage,
        space=SPACE,
        search=SearchConfig(sampler=sampler, trials=trials, seed=3, recipe_first=recipe is not None, **search),
        stopping=StoppingConfig(kind="promotion", min_fraction=0.25, reduction_factor=3),
        evaluations=FRACTIONS,
        finalists=finalists,
        recipe=recipe,
    )


def score(record, fraction):
    """Return a score that rises with the fraction, but not the same for all: the order of the trials changes."""
    return record.params["x"] * fraction + record.params["n"] / 10 * (1 - fraction)


def run_one(ledger, events):
    """Run one trial until it pauses or ends, from its last report on if it has one; return whether there was one."""
    record = ledger.ask()
    if record is None:
        return False
    done = record.fraction
    best = record.best if done else None
    for fraction in (f for f in FRACTIONS if f > done):
        value = score(record, fraction)
        best, at = (value, fraction) if best is None or value > best else (best, fraction)
        if ledger.report(record.number, report_at(fraction, value, best=best, best_fraction=at)):
            break
    if fraction == 1.0:
        ledger.complete(record.number, best)
        events.append((record.number, "complete"))
    else:
        ledger.stop(record.number)
        events.append((record.number, f"paused at {fraction}"))
    return True


def run_all(ledger, close=True):
    events = []
    while run_one(ledger, events):
        pass
    if close:
        ledger.close()
    return events


def facts(ledger):
    return [(r.number, r.state, dict(r.params), r.best, r.fraction) for r in ledger.trials]


def test_trials_pause_the_best_are_promoted_and_the_finalists_finish(storage):
    ledger = open_ledger(storage.open())
    events = run_all(ledger, close=False)
    states = [record.state for record in ledger.trials]
    assert events[0] == (0, "complete"), "the recipe runs to its end"
    assert states.count("complete") == 3
    assert states.count("paused") == 7
    assert [t.state for t in ledger._study.get_trials() if t.state != TrialState.COMPLETE] == [TrialState.RUNNING] * 7
    assert {record.attempt for record in ledger.trials} == {1}, "being promoted is no attempt"
    assert {record.losses for record in ledger.trials} == {0}
    finished = [r for r in ledger.trials[1:] if r.state == "complete"]
    paused = [r for r in ledger.trials if r.state == "paused"]
    assert min(r.best for r in finished) >= max(r.best for r in paused if r.fraction == 0.5), "the best have finished"
    assert not ledger.is_exhausted
    assert sorted(ledger.close()) == [record.number for record in paused]
    assert ledger.is_exhausted
    assert {record.state for record in ledger.trials} == {"complete", "stopped"}
    assert ledger.ask() is None


def make_killable(storage, countdown):
    """Make the storage raise `Killed` instead of its `countdown`-th write from now on."""
    left = [countdown]
    for name in WRITES:
        real = getattr(storage, name)

        def write(*args, real=real, **given):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return real(*args, **given)

        setattr(storage, name, write)


@pytest.mark.parametrize("sampler", ["random", pytest.param("gp", marks=pytest.mark.slow)])
def test_a_kill_before_any_write_changes_no_point_promotion_or_score(sampler):
    """With one slot. The interrupted trial starts over: its earlier reports count only when it makes them again."""
    options = {"sampler": sampler, "startup_trials": 4} if sampler == "gp" else {}
    trials = 6 if sampler == "gp" else 10
    reference = open_ledger(InMemoryStorage(), trials=trials, **options)
    run_all(reference)
    expected, countdown = facts(reference), 0
    while True:
        countdown += 7 if sampler == "gp" else 1
        storage = InMemoryStorage()
        open_ledger(storage, trials=trials, **options)
        make_killable(storage, countdown)
        try:
            run_all(open_ledger(storage, trials=trials, **options))
        except Killed:
            for name in WRITES:
                delattr(storage, name)
        else:
            break
        run_all(open_ledger(storage, trials=trials, **options))
        assert facts(open_ledger(storage, trials=trials, **options)) == expected, f"killed at write {countdown}"
    assert countdown > 50


def test_an_extension_keeps_the_rungs_and_does_not_reopen_closed_trials(storage):
    run_all(open_ledger(storage.open(), trials=6))
    before = facts(open_ledger(storage.open(), trials=6))
    longer = open_ledger(storage.open(), trials=30)
    assert longer._plan.rungs == (500, 1000), "30 trials alone would begin at a smaller rung"
    assert not longer.is_exhausted
    run_all(longer)
    assert facts(longer)[:6] == before
    assert len(longer.trials) == 30
    assert sum(record.state == "complete" for record in longer.trials[6:]) > 0


def test_a_promoted_trial_that_fails_makes_room_for_another():
    ledger = open_ledger(InMemoryStorage(), recipe=None, trials=8, finalists=1)
    while not (promoted := ledger.ask()).fraction:
        assert ledger.report(promoted.number, report_at(0.25, score(promoted, 0.25)))
        ledger.stop(promoted.number)
    ledger.fail(promoted.number, "scripted")
    run_all(ledger)
    states = [record.state for record in ledger.trials]
    assert sorted(states) == ["complete", "failed", *["stopped"] * 6]


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_the_point_of_a_failed_trial_is_not_drawn_again(sampler):
    ledger = open_ledger(InMemoryStorage(), recipe=None, sampler=sampler, startup_trials=2)
    while (record := ledger.ask()) is not None:
        if record.number in (3, 4):
            ledger.fail(record.number, "scripted")
        elif ledger.report(record.number, report_at(0.25, score(record, 0.25))) and not record.fraction:
            ledger.stop(record.number)
        else:
            ledger.complete(record.number, 0.5)
    points = [tuple(record.params.items()) for record in ledger.trials]
    assert len(set(points)) == len(points) == 10


def test_rungs_of_a_grid_are_fitted_to_its_cells():
    cells = (IntRange("n", 1, 3), IntRange("m", 1, 2))
    first = []
    for trials in (6, 99):
        search = SearchConfig(sampler="grid", trials=trials, seed=3, recipe_first=False)
        stopping = StoppingConfig(kind="promotion")
        evaluations = (0.0625, 0.125, 0.25, 1.0)
        ledger = open_search_ledger(
            InMemoryStorage(), space=cells, search=search, stopping=stopping, evaluations=evaluations, finalists=1
        )
        first.append((ledger.budget, ledger.ask().runs_until))
    assert first[0] == first[1] != (6, 0.25)


def test_fewer_trials_do_not_reopen_a_finished_search():
    storage = InMemoryStorage()
    run_all(open_ledger(storage))
    assert open_ledger(storage, trials=7).is_exhausted
    assert open_ledger(storage).is_exhausted
    assert not open_ledger(storage, trials=11).is_exhausted


def test_a_lost_trial_resumes_before_anything_else_and_pauses_at_its_rung():
    ledger = open_ledger(InMemoryStorage(), recipe=None)
    first, second = ledger.ask(), ledger.ask()
    ledger.mark_lost(second.number, "its process died")
    again = ledger.ask()
    assert (again.number, again.attempt, again.losses) == (second.number, 2, 1)
    assert ledger.report(again.number, report_at(0.25, 0.5))
    ledger.stop(again.number)
    assert ledger.record(again.number).state == "paused"
    assert ledger.record(first.number).state == "running"


def test_a_limit_in_schedules_ends_the_search():
    ledger = open_ledger(InMemoryStorage(), trials=1000, schedules=5.0, finalists=1)
    run_all(ledger)
    assert 4 < sum(record.fraction for record in ledger.trials) <= 5
    assert [record.state for record in ledger.trials].count("complete") == 2


@pytest.mark.parametrize("kind", ["none", "successive_halving"])
def test_a_limit_in_schedules_holds_without_promotion(kind):
    search = SearchConfig(sampler="random", trials=99, schedules=3.5, seed=3, recipe_first=False)
    ledger = open_search_ledger(
        InMemoryStorage(),
        space=SPACE,
        search=search,
        stopping=StoppingConfig(kind=kind),
        evaluations=FRACTIONS,
        finalists=1,
    )
    while (record := ledger.ask()) is not None:
        stopped = any(ledger.report(record.number, report_at(f, score(record, f))) for f in FRACTIONS)
        ledger.stop(record.number) if stopped else ledger.complete(record.number, score(record, 1.0))
    assert 2.5 < sum(record.fraction for record in ledger.trials) <= 3.5


def test_the_most_promising_paused_trials_come_first():
    ledger = open_ledger(InMemoryStorage(), recipe=None, trials=6)
    run_all(ledger, close=False)
    ranked = ledger.rank_paused()
    by_best = sorted((r for r in ledger.trials if r.state == "paused"), key=lambda r: -r.best)
    assert set(ranked) == {record.number for record in by_best}
    assert ranked[0] == by_best[0].number
