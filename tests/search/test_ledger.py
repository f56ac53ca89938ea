"""The ledger: every trial is recorded, across processes and crashes.

Tests of resuming after a crash run in memory and on a database, all others in memory.
"""

import math

import pytest
from optuna.trial import Trial
from tests.ledgers import Database, Memory
from tests.refusals import raises_code

from embsweep.config.search_space import Choice, FloatRange, IntRange
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.core.errors import SweepRefused
from embsweep.search.format import FORMAT_KEY, LEDGER_FORMAT, METADATA
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.search.read import read_ledger, read_metadata
from embsweep.search.storage import LedgerUnavailable

SPACE = (FloatRange("lr", 1e-6, 1e-4, log=True), IntRange("epochs", 1, 5), Choice("loss", ("a", "b")))
RECIPE = {"lr": 2e-5, "epochs": 4, "loss": "a"}


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture(params=["memory", pytest.param("database", marks=pytest.mark.slow)])
def storage(request, tmp_path):
    return Memory() if request.param == "memory" else Database(tmp_path / "study.db")


def open_ledger(storage, *, space=SPACE, stopping="none", **search):
    values = {"sampler": "random", "trials": 6, "seed": 3, "recipe_first": True, **search}
    pruner = build_pruner(StoppingConfig(kind=stopping), first_fraction=0.25)
    return Ledger.from_storage(storage.open(), space=space, search=SearchConfig(**values), pruner=pruner)


def open_in(folder):
    search = SearchConfig(sampler="random", trials=6, seed=3, recipe_first=True)
    return Ledger.open(
        folder / "study.db", space=SPACE, search=search, pruner=build_pruner(StoppingConfig(kind="none"), 0.25)
    )


def run_all(ledger, score=lambda params: params["lr"]):
    while (record := ledger.ask()) is not None:
        ledger.report(record.number, 1.0, score(record.params))
        ledger.complete(record.number, score(record.params))


@pytest.mark.parametrize(
    "sampler", ["tpe", "random", *(pytest.param(name, marks=pytest.mark.slow) for name in ("qmc", "gp"))]
)
def test_every_sampler_spends_the_budget_with_the_recipe_first(memory, sampler):
    ledger = open_ledger(memory, sampler=sampler, startup_trials=2)
    ledger.enqueue_initial(RECIPE)
    run_all(ledger)
    assert [r.number for r in ledger.trials] == list(range(6))
    assert {r.state for r in ledger.trials} == {"complete"}
    assert ledger.trials[0].params == RECIPE
    assert len({tuple(r.params.values()) for r in ledger.trials}) == 6, "the sampler repeats points"


def test_partial_recipe_fixes_only_its_own_parameters(memory):
    ledger = open_ledger(memory)
    ledger.enqueue_initial({"epochs": 4})
    assert ledger.ask().params["epochs"] == 4


def test_recipe_is_not_first_if_disabled(memory):
    ledger = open_ledger(memory, recipe_first=False)
    ledger.enqueue_initial(RECIPE)
    assert ledger.ask().params != RECIPE


def test_grid_visits_every_cell_once_recipe_first(memory):
    space = (IntRange("epochs", 1, 3), Choice("loss", ("a", "b")))
    ledger = open_ledger(memory, space=space, sampler="grid", trials=100)
    ledger.enqueue_initial({"epochs": 2, "loss": "b"})
    run_all(ledger, score=lambda params: params["epochs"])
    cells = [(r.params["epochs"], r.params["loss"]) for r in ledger.trials]
    assert cells[0] == (2, "b")
    assert sorted(cells) == [(e, loss) for e in (1, 2, 3) for loss in ("a", "b")]


def test_a_resumed_search_draws_the_same_points_as_an_uninterrupted_one(storage):
    reference = open_ledger(Memory())
    reference.enqueue_initial(RECIPE)
    run_all(reference)
    for _ in range(6):  # a new process for every trial
        resumed = open_ledger(storage)
        resumed.enqueue_initial(RECIPE)
        record = resumed.ask()
        resumed.report(record.number, 1.0, record.params["lr"])
        resumed.complete(record.number, record.params["lr"])
    assert [r.params for r in resumed.trials] == [r.params for r in reference.trials]


def test_interrupted_trials_resume_in_the_order_of_their_numbers(memory):
    first = open_ledger(memory)
    started = [first.ask().number for _ in range(3)]
    first.complete(started[1], 0.5)
    again = open_ledger(memory)
    assert [again.ask().number for _ in range(3)] == [started[0], started[2], 3]


def test_interrupted_trial_resumes_under_its_own_number(storage):
    first = open_ledger(storage)
    first.enqueue_initial(RECIPE)
    number, params = first.ask().number, first.record(0).params
    first.report(number, 0.25, 0.5)
    again = open_ledger(storage)
    again.enqueue_initial(RECIPE)
    record = again.ask()
    assert (record.number, record.params, record.attempt) == (number, params, 2)
    again.report(number, 0.25, 0.6)
    again.complete(number, 0.7)
    assert again.record(number).best == 0.7
    assert again.ask().number == 1


def test_larger_budget_extends_the_search(memory):
    ledger = open_ledger(memory, trials=2)
    run_all(ledger)
    assert ledger.ask() is None
    longer = open_ledger(memory, trials=4)
    run_all(longer)
    assert [r.number for r in longer.trials] == [0, 1, 2, 3]


def test_successive_halving_stops_the_worse_and_keeps_the_better(memory):
    ledger = open_ledger(memory, stopping="successive_halving")
    good, bad = ledger.ask().number, ledger.ask().number
    assert ledger.report(good, 0.25, 0.9) is False
    assert ledger.report(bad, 0.25, 0.1) is True
    ledger.stop(bad)
    assert ledger.report(good, 0.5, 0.9) is False
    ledger.complete(good, 0.9)
    states = {r.number: (r.state, r.best, r.fraction) for r in ledger.trials}
    assert states == {good: ("complete", 0.9, 0.5), bad: ("stopped", 0.1, 0.25)}


@pytest.mark.parametrize("stopping", ["hyperband", "none"])
def test_other_pruners_complete_a_search(memory, stopping):
    ledger = open_ledger(memory, stopping=stopping)
    run_all(ledger)
    assert len(ledger.trials) == 6


def test_failed_trial_keeps_its_reason_and_cannot_be_best(memory):
    ledger = open_ledger(memory)
    number = ledger.ask().number
    ledger.fail(number, "training loss is nan by step 3")
    record = ledger.record(number)
    assert (record.state, record.attributes["reason"]) == ("failed", "training loss is nan by step 3")
    assert record.best is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_objective_is_refused(memory, value):
    ledger = open_ledger(memory)
    with pytest.raises(ValueError, match="objective"):
        ledger.report(ledger.ask().number, 0.5, value)


@pytest.mark.slow
def test_metadata_persists_and_can_be_read_by_read_ledger(tmp_path):
    ledger = open_in(tmp_path / "new")
    ledger.set_metadata(identity={"a": 1})
    ledger.set_metadata(result={"b": [1, 2]})
    run_all(ledger)
    notes, trials = read_ledger(tmp_path / "new" / "study.db")
    assert notes == {"ledger_format": LEDGER_FORMAT, "identity": {"a": 1}, "result": {"b": [1, 2]}}
    assert len(trials) == 6
    assert read_ledger(tmp_path / "absent.db") is None


@pytest.mark.parametrize("sampler", ["random", "tpe", pytest.param("gp", marks=pytest.mark.slow)])
def test_a_trial_whose_drawing_was_interrupted_is_completed(storage, monkeypatch, sampler):
    search = {"recipe_first": False, "sampler": sampler}
    reference = open_ledger(Memory(), **search).ask()
    ledger = open_ledger(storage, **search)
    interrupt_drawing(monkeypatch, ledger, at=2)
    (partial,) = ledger.trials
    assert len(partial.params) == 1
    record = open_ledger(storage, **search).ask()
    assert record.number == 0
    assert record.params.keys() == {"lr", "epochs", "loss"}
    assert partial.params.items() <= record.params.items()
    assert record.params == reference.params


@pytest.mark.parametrize("at", [2, 3])
@pytest.mark.parametrize("given", ["fixed", "single"])
def test_redrawing_uses_no_random_number_for_values_that_needed_none(memory, monkeypatch, given, at):
    """A key of the recipe, or one with a single value: later values must equal those of an uninterrupted search."""
    space = (IntRange("epochs", 2, 2 if given == "single" else 9), *(FloatRange(key, 0.0, 1.0) for key in "ab"))
    recipe = {"epochs": 2} if given == "fixed" else {}
    reference, ledger = open_ledger(Memory(), space=space), open_ledger(memory, space=space)
    reference.enqueue_initial(recipe)
    ledger.enqueue_initial(recipe)
    interrupt_drawing(monkeypatch, ledger, at)
    assert open_ledger(memory, space=space).ask().params == reference.ask().params


def test_a_stop_is_returned_again_at_its_own_report_only(memory):
    first = open_ledger(memory, stopping="successive_halving")
    good, bad = first.ask().number, first.ask().number
    for fraction, value in ((0.25, 0.5), (0.5, 0.9)):
        assert not first.report(good, fraction, value)
    assert not first.report(bad, 0.25, 0.6)
    assert first.report(bad, 0.5, 0.7)
    again = open_ledger(memory, stopping="successive_halving")
    while again.ask().number != bad:
        pass
    assert not again.report(bad, 0.25, 0.6)
    assert again.report(bad, 0.5, 0.7)


def test_losses_are_counted(memory):
    ledger = open_ledger(memory)
    for losses in (1, 2, 3):
        ledger.mark_lost(ledger.ask().number, "its process died")
        assert ledger.record(0).losses == losses


def test_a_non_finite_objective_is_never_the_best(memory):
    ledger = open_ledger(memory)
    number = ledger.ask().number
    ledger.complete(number, math.inf)
    assert ledger.record(number).best is None


def test_reports_of_an_interrupted_attempt_do_not_count_for_the_next(storage):
    """The next attempt starts over and is stopped earlier with a lower score: samplers learn from Optuna's value."""
    first = open_ledger(storage)
    number = first.ask().number
    first.report(number, 0.25, 0.3)
    first.report(number, 0.5, 0.9)
    again = open_ledger(storage)
    again.ask()
    assert (again.record(number).best, again.record(number).fraction) == (None, 0.0)
    again.report(number, 0.25, 0.4)
    again.stop(number)
    for ledger in (again, open_ledger(storage)):
        record, frozen = ledger.record(number), ledger._study.trials[number]
        assert (record.state, record.best, record.fraction) == ("stopped", 0.4, 0.25)
        assert (frozen.value, frozen.intermediate_values) == (0.4, {250: 0.4})


def test_pruning_ignores_reports_of_earlier_attempts(storage, monkeypatch):
    """An attempt died between its report and the pruner's decision, and its state is lost: it reports there again."""
    first = open_ledger(storage, stopping="successive_halving")
    good = first.ask().number
    for fraction, value in ((0.25, 0.5), (0.5, 0.9)):
        assert not first.report(good, fraction, value)
    number = first.ask().number
    assert not first.report(number, 0.25, 0.6)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(first._study.pruner, "prune", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        first.report(number, 0.5, 0.1)
    again = open_ledger(storage, stopping="successive_halving")
    while again.ask().number != number:
        pass
    assert not again.report(number, 0.25, 0.6)
    assert not again.report(number, 0.5, 0.95)


def test_a_grid_whose_queueing_was_interrupted_is_completed(memory, monkeypatch):
    space = (IntRange("epochs", 1, 3), Choice("loss", ("a", "b")))
    ledger = open_ledger(memory, space=space, sampler="grid", trials=100)
    cells = ledger._grid()
    monkeypatch.setattr(Ledger, "_grid", lambda _: cells[:2])
    ledger.enqueue_initial({"epochs": 2, "loss": "b"})
    monkeypatch.undo()
    again = open_ledger(memory, space=space, sampler="grid", trials=100)
    again.enqueue_initial({"epochs": 2, "loss": "b"})
    run_all(again, score=lambda params: params["epochs"])
    assert sorted((r.params["epochs"], r.params["loss"]) for r in again.trials) == [
        (e, loss) for e in (1, 2, 3) for loss in ("a", "b")
    ]


def test_a_ledger_is_exhausted_if_its_whole_budget_is_finished(memory):
    ledger = open_ledger(memory, trials=1)
    assert not ledger.is_exhausted
    number = ledger.ask().number
    assert not ledger.is_exhausted, "its last trial is still open"
    ledger.complete(number, 0.5)
    assert ledger.is_exhausted
    longer = open_ledger(memory, trials=2)
    assert not longer.is_exhausted, "a raised budget"
    number = longer.ask().number
    assert not longer.is_exhausted, "one of two is open"
    longer.complete(number, 0.5)
    assert longer.is_exhausted


def test_a_grid_is_exhausted_if_every_cell_is_finished(memory):
    ledger = open_ledger(memory, space=(Choice("loss", ("a", "b")),), sampler="grid", trials=100)
    ledger.enqueue_initial({})
    assert ledger.budget == 2
    few = open_ledger(memory, space=(Choice("loss", ("a", "b")),), sampler="grid", trials=1)
    assert few.budget == 1, "fewer trials than cells"
    run_all(ledger, score=lambda _: 0.5)
    assert ledger.is_exhausted


@pytest.mark.parametrize("found", [None, LEDGER_FORMAT + 1])
def test_a_ledger_of_another_format_is_refused(tmp_path, found):
    """Format 1 has no number. Its metadata can be read nevertheless, to count evaluations on the test split."""
    path = tmp_path / "study.db"
    metadata = {"name": "old", "looks": [1]} | ({} if found is None else {FORMAT_KEY: found})
    open_in(tmp_path)._study.set_user_attr(METADATA, metadata)
    for read in (lambda: open_in(tmp_path), lambda: read_ledger(path)):
        with raises_code(SweepRefused, "other-format") as caught:
            read()
        assert f"'old' has format {found or 1};" in str(caught.value)
    assert read_metadata(path) == metadata


def test_reading_a_damaged_ledger_names_its_path(tmp_path):
    path = tmp_path / "study.db"
    path.write_bytes(b"this is no database" * 100)
    with raises_code(LedgerUnavailable, "unreadable") as caught:
        read_ledger(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_opening_a_damaged_ledger_suggests_a_fresh_sweep(tmp_path):
    (tmp_path / "study.db").write_bytes(b"this is no database" * 100)
    with raises_code(LedgerUnavailable, "unreadable") as caught:
        open_in(tmp_path)
    assert "sweep.fresh=true" in str(caught.value)


def interrupt_drawing(monkeypatch, ledger, at):
    """Request a trial, and raise before its `at`-th parameter is drawn."""
    suggest, calls = Trial._suggest, []

    def interrupted_suggest(trial, name, distribution):
        calls.append(name)
        if len(calls) == at:
            raise KeyboardInterrupt
        return suggest(trial, name, distribution)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Trial, "_suggest", interrupted_suggest)
        ledger.ask()


POINT_SPACE = (IntRange("trial", 0, 99), IntRange("seed", 0, 99))


def open_points(storage):
    """Open a ledger as for the confirmation: only queued points are tried."""
    return open_ledger(storage, space=POINT_SPACE, sampler="grid", trials=99, recipe_first=False)


@pytest.mark.parametrize("at", [1, 2])
def test_a_queued_point_whose_drawing_was_interrupted_is_the_same_trial(storage, monkeypatch, at):
    points = [{"trial": 4, "seed": 1}, {"trial": 7, "seed": 1}]
    ledger = open_points(storage)
    ledger.replace_queue(points)
    interrupt_drawing(monkeypatch, ledger, at)
    again = open_points(storage)
    again.replace_queue(points)
    record = again.ask()
    assert (record.number, record.params, record.attempt) == (0, points[0], 1)
    assert [trial.state for trial in again.trials] == ["running"]


@pytest.mark.parametrize("at", [1, 2])
def test_a_dropped_point_that_was_never_handed_out_is_no_trial(storage, monkeypatch, at):
    """It has no parameters, or only some of them; readers of the records rely on all of them."""
    ledger = open_points(storage)
    ledger.replace_queue([{"trial": trial, "seed": seed} for seed in (1, 2) for trial in (4, 7)])
    ledger.complete(ledger.ask().number, 0.5)
    handed_out = ledger.ask()
    interrupt_drawing(monkeypatch, ledger, at)  # a fourth is only queued
    again = open_points(storage)
    again.replace_queue([{"trial": 4, "seed": 1}, {"trial": 9, "seed": 1}])
    assert [(r.number, r.state, r.params) for r in again.trials] == [
        (0, "complete", {"trial": 4, "seed": 1}),
        (handed_out.number, "failed", {"trial": 7, "seed": 1}),
    ]
    assert again.budget == 3, "two are finished, one is queued"
    assert not again.is_exhausted
    assert again.ask().params == {"trial": 9, "seed": 1}
    assert again.ask() is None


def test_a_dropped_point_can_be_queued_again(memory):
    first, second = [{"trial": 4, "seed": 1}], [{"trial": 7, "seed": 1}]
    ledger = open_points(memory)
    ledger.replace_queue(first)
    ledger.ask()
    for points in (second, first):
        again = open_points(memory)
        again.replace_queue(points)
        assert again.ask().params == points[0]


@pytest.mark.parametrize("repeats", [True, False])
def test_replace_queue_drops_other_points_and_repeats_failed_ones(memory, repeats):
    points = [{"trial": trial, "seed": seed} for seed in (1, 2) for trial in (4, 7)]
    ledger = open_points(memory)
    ledger.replace_queue(points)
    ledger.complete(ledger.ask().number, 0.5)
    failed = ledger.ask().number
    ledger.fail(failed, "scripted")
    interrupted = ledger.ask()
    assert interrupted.params == {"trial": 4, "seed": 2}
    again = open_points(memory)
    again.replace_queue([*points[:2], {"trial": 9, "seed": 1}], again={failed} if repeats else ())
    suggested = []
    while (record := again.ask()) is not None:
        suggested.append(record.params)
        again.complete(record.number, 0.5)
    assert suggested == [*([{"trial": 7, "seed": 1}] if repeats else []), {"trial": 9, "seed": 1}]
