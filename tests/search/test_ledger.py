"""The ledger: every trial accounted for, across processes and crashes."""

import contextlib
import math
import sqlite3

import pytest
from optuna.trial import Trial

from embsweep.config.machinery import SearchConfig, StoppingConfig
from embsweep.errors import EmbsweepError
from embsweep.search.ledger import Ledger, read_ledger
from embsweep.search.pruners import build_pruner
from embsweep.space import Choice, FloatRange, IntRange

pytestmark = pytest.mark.slow  # a database a test

SPACE = (FloatRange("lr", 1e-6, 1e-4, log=True), IntRange("epochs", 1, 5), Choice("loss", ("a", "b")))
RECIPE = {"lr": 2e-5, "epochs": 4, "loss": "a"}


def open_ledger(path, *, space=SPACE, stopping="none", **search):
    values = {"sampler": "random", "trials": 6, "seed": 3, "recipe_first": True, **search}
    pruner = build_pruner(StoppingConfig(kind=stopping), first_fraction=0.25)
    return Ledger.open(path / "study.db", space=space, search=SearchConfig(**values), pruner=pruner)


def run_all(ledger, score=lambda params: params["lr"]):
    while (record := ledger.ask()) is not None:
        ledger.report(record.number, 1.0, score(record.params))
        ledger.complete(record.number, score(record.params))


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc", "gp"])
def test_every_sampler_spends_the_budget_with_the_recipe_first(tmp_path, sampler):
    ledger = open_ledger(tmp_path, sampler=sampler, startup_trials=2)
    ledger.plan(RECIPE)
    run_all(ledger)
    assert [r.number for r in ledger.trials] == list(range(6))
    assert {r.state for r in ledger.trials} == {"complete"}
    assert ledger.trials[0].params == RECIPE
    assert len({tuple(r.params.values()) for r in ledger.trials}) == 6, "a sampler that repeats itself"


def test_partial_recipe_fixes_what_it_has(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.plan({"epochs": 4})
    assert ledger.ask().params["epochs"] == 4


def test_no_recipe_first(tmp_path):
    ledger = open_ledger(tmp_path, recipe_first=False)
    ledger.plan(RECIPE)
    assert ledger.ask().params != RECIPE


def test_grid_visits_every_cell_once_recipe_first(tmp_path):
    space = (IntRange("epochs", 1, 3), Choice("loss", ("a", "b")))
    ledger = open_ledger(tmp_path, space=space, sampler="grid", trials=100)
    ledger.plan({"epochs": 2, "loss": "b"})
    run_all(ledger, score=lambda params: params["epochs"])
    cells = [(r.params["epochs"], r.params["loss"]) for r in ledger.trials]
    assert cells[0] == (2, "b")
    assert sorted(cells) == [(e, loss) for e in (1, 2, 3) for loss in ("a", "b")]


def test_a_resumed_search_draws_as_an_unbroken_one(tmp_path):
    whole = open_ledger(tmp_path / "whole")
    whole.plan(RECIPE)
    run_all(whole)
    for _ in range(6):  # a new process for every trial
        broken = open_ledger(tmp_path / "broken")
        broken.plan(RECIPE)
        record = broken.ask()
        broken.report(record.number, 1.0, record.params["lr"])
        broken.complete(record.number, record.params["lr"])
    assert [r.params for r in broken.trials] == [r.params for r in whole.trials]


def test_interrupted_trial_goes_on_under_its_own_number(tmp_path):
    first = open_ledger(tmp_path)
    first.plan(RECIPE)
    number, params = first.ask().number, first.record(0).params
    first.report(number, 0.25, 0.5)
    again = open_ledger(tmp_path)
    again.plan(RECIPE)
    record = again.ask()
    assert (record.number, record.params, record.attempt) == (number, params, 2)
    again.report(number, 0.25, 0.6)
    again.complete(number, 0.7)
    assert again.record(number).best == 0.7
    assert again.ask().number == 1


def test_raised_budget_extends(tmp_path):
    ledger = open_ledger(tmp_path, trials=2)
    run_all(ledger)
    assert ledger.ask() is None
    longer = open_ledger(tmp_path, trials=4)
    run_all(longer)
    assert [r.number for r in longer.trials] == [0, 1, 2, 3]


def test_successive_halving_stops_the_worse_and_keeps_the_better(tmp_path):
    ledger = open_ledger(tmp_path, stopping="successive_halving")
    good, bad = ledger.ask().number, ledger.ask().number
    assert ledger.report(good, 0.25, 0.9) is False
    assert ledger.report(bad, 0.25, 0.1) is True
    ledger.stop(bad)
    assert ledger.report(good, 0.5, 0.9) is False
    ledger.complete(good, 0.9)
    states = {r.number: (r.state, r.best, r.fraction) for r in ledger.trials}
    assert states == {good: ("complete", 0.9, 0.5), bad: ("stopped", 0.1, 0.25)}


@pytest.mark.parametrize("stopping", ["hyperband", "none"])
def test_other_pruners_open(tmp_path, stopping):
    ledger = open_ledger(tmp_path, stopping=stopping)
    run_all(ledger)
    assert len(ledger.trials) == 6


def test_failed_trial_keeps_its_reason_and_cannot_be_best(tmp_path):
    ledger = open_ledger(tmp_path)
    number = ledger.ask().number
    ledger.fail(number, "training loss is nan by step 3")
    record = ledger.record(number)
    assert (record.state, record.attributes["reason"]) == ("failed", "training loss is nan by step 3")
    assert record.best is None


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_non_finite_objective_is_refused(tmp_path, value):
    ledger = open_ledger(tmp_path)
    with pytest.raises(ValueError, match="no objective"):
        ledger.report(ledger.ask().number, 0.5, value)


def test_notes_survive_and_can_be_read_from_outside(tmp_path):
    ledger = open_ledger(tmp_path)
    ledger.note(identity={"a": 1})
    ledger.note(result={"b": [1, 2]})
    run_all(ledger)
    notes, trials = read_ledger(tmp_path / "study.db")
    assert notes == {"identity": {"a": 1}, "result": {"b": [1, 2]}}
    assert len(trials) == 6
    assert read_ledger(tmp_path / "absent.db") is None


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_a_crash_in_the_middle_of_drawing_leaves_no_half_drawn_trial(tmp_path, monkeypatch, sampler):
    search = {"recipe_first": False, "sampler": sampler}
    unbroken = open_ledger(tmp_path / "unbroken", **search).ask()
    ledger = open_ledger(tmp_path, **search)
    suggest, calls = Trial._suggest, []

    def crash_at_the_second(trial, name, distribution):
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return suggest(trial, name, distribution)

    monkeypatch.setattr(Trial, "_suggest", crash_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        ledger.ask()
    monkeypatch.undo()
    (half,) = ledger.trials
    assert len(half.params) == 1
    record = open_ledger(tmp_path, **search).ask()
    assert record.number == 0
    assert record.params.keys() == {"lr", "epochs", "loss"}
    assert half.params.items() <= record.params.items()
    assert record.params == unbroken.params


def test_what_an_interrupted_attempt_reported_does_not_speak_for_the_next(tmp_path):
    first = open_ledger(tmp_path)
    number = first.ask().number
    first.report(number, 0.25, 0.3)
    first.report(number, 0.5, 0.9)
    again = open_ledger(tmp_path)
    again.ask()
    assert (again.record(number).best, again.record(number).fraction) == (None, 0.0)
    again.report(number, 0.25, 0.4)
    again.stop(number)
    assert (again.record(number).best, again.record(number).fraction) == (0.4, 0.25)


def test_a_grid_whose_queueing_was_interrupted_is_completed(tmp_path, monkeypatch):
    space = (IntRange("epochs", 1, 3), Choice("loss", ("a", "b")))
    ledger = open_ledger(tmp_path, space=space, sampler="grid", trials=100)
    cells = ledger._grid()
    monkeypatch.setattr(Ledger, "_grid", lambda _: cells[:2])
    ledger.plan({"epochs": 2, "loss": "b"})
    monkeypatch.undo()
    again = open_ledger(tmp_path, space=space, sampler="grid", trials=100)
    again.plan({"epochs": 2, "loss": "b"})
    run_all(again, score=lambda params: params["epochs"])
    assert sorted((r.params["epochs"], r.params["loss"]) for r in again.trials) == [
        (e, loss) for e in (1, 2, 3) for loss in ("a", "b")
    ]


def test_spent_means_the_whole_budget_is_finished(tmp_path):
    ledger = open_ledger(tmp_path, trials=1)
    assert not ledger.is_spent
    number = ledger.ask().number
    assert not ledger.is_spent, "its last trial is still open"
    ledger.complete(number, 0.5)
    assert ledger.is_spent
    assert not open_ledger(tmp_path, trials=2).is_spent, "a raised budget"


def test_a_grid_is_spent_when_every_cell_was_tried(tmp_path):
    ledger = open_ledger(tmp_path, space=(Choice("loss", ("a", "b")),), sampler="grid", trials=100)
    ledger.plan({})
    assert ledger.budget == 2
    run_all(ledger, score=lambda _: 0.5)
    assert ledger.is_spent


def test_a_damaged_ledger_is_named(tmp_path):
    path = tmp_path / "study.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(EmbsweepError, match=r"study\.db: is no readable ledger"):
        read_ledger(path)


def test_a_damaged_ledger_of_a_sweep_that_goes_on_is_named_too(tmp_path):
    (tmp_path / "study.db").write_bytes(b"this is no database" * 100)
    with pytest.raises(EmbsweepError, match=r"study\.db: is no readable ledger .*sweep\.fresh=true"):
        open_ledger(tmp_path)


def forget_a_param(tmp_path, number, name):
    """As a crash in the middle of `ask` leaves a queued trial."""
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute("DELETE FROM trial_params WHERE param_name = ? AND trial_id = ?", (name, number + 1))


@pytest.mark.parametrize("forgotten", [("seed",), ("seed", "trial")])
def test_a_queued_point_that_a_crash_left_half_drawn_is_the_same_trial(tmp_path, forgotten):
    space = (IntRange("trial", 0, 99), IntRange("seed", 0, 99))
    points = [{"trial": 4, "seed": 1}, {"trial": 7, "seed": 1}]
    ledger = open_ledger(tmp_path, space=space, sampler="grid", trials=99, recipe_first=False)
    ledger.queue_only(points)
    number = ledger.ask().number
    for name in forgotten:
        forget_a_param(tmp_path, number, name)
    again = open_ledger(tmp_path, space=space, sampler="grid", trials=99, recipe_first=False)
    again.queue_only(points)
    record = again.ask()
    assert (record.number, record.params) == (number, points[0])
    assert "failed" not in {trial.state for trial in again.trials}


def test_a_point_that_was_given_up_can_be_asked_for_again(tmp_path):
    space = (IntRange("trial", 0, 99), IntRange("seed", 0, 99))
    first, second = [{"trial": 4, "seed": 1}], [{"trial": 7, "seed": 1}]
    ledger = open_ledger(tmp_path, space=space, sampler="grid", trials=99, recipe_first=False)
    ledger.queue_only(first)
    ledger.ask()
    for points in (second, first):
        again = open_ledger(tmp_path, space=space, sampler="grid", trials=99, recipe_first=False)
        again.queue_only(points)
        assert again.ask().params == points[0]


@pytest.mark.parametrize("repeats", [True, False])
def test_only_what_is_asked_for_stays_queued_and_what_does_not_count_is_tried_again(tmp_path, repeats):
    space = (IntRange("trial", 0, 99), IntRange("seed", 0, 99))
    points = [{"trial": trial, "seed": seed} for seed in (1, 2) for trial in (4, 7)]
    ledger = open_ledger(tmp_path, space=space, sampler="grid", trials=99, recipe_first=False)
    ledger.queue_only(points)
    ledger.complete(ledger.ask().number, 0.5)
    failed = ledger.ask().number
    ledger.fail(failed, "scripted")
    interrupted = ledger.ask()
    assert interrupted.params == {"trial": 4, "seed": 2}
    again = open_ledger(tmp_path, space=space, sampler="grid", trials=99, recipe_first=False)
    again.queue_only([*points[:2], {"trial": 9, "seed": 1}], again={failed} if repeats else ())
    handed = []
    while (record := again.ask()) is not None:
        handed.append(record.params)
        again.complete(record.number, 0.5)
    assert handed == [*([{"trial": 7, "seed": 1}] if repeats else []), {"trial": 9, "seed": 1}]
