"""The ledger: every trial is recorded, across processes and crashes.

Tests of resuming after a crash run in memory and on a database, all others in memory.
"""

import math

import pytest
from tests.ledgers import RUNGS, Database, Memory, open_search, report_at
from tests.refusals import raises_code

from embsweep.config.search_space import Choice, FloatRange, IntRange
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.core.errors import SweepRefused
from embsweep.search.confirmation import ConfirmationLedger
from embsweep.search.points import Points
from embsweep.search.pruners import build_pruner
from embsweep.search.read import read_ledger, read_metadata, read_phases
from embsweep.search.record import FORMAT_KEY, LEDGER_FORMAT, METADATA
from embsweep.search.search import SearchLedger
from embsweep.search.storage import LedgerUnavailable, open_storage

SPACE = (FloatRange("lr", 1e-6, 1e-4, log=True), IntRange("epochs", 1, 5), Choice("loss", ("a", "b")))
RECIPE = {"lr": 2e-5, "epochs": 4, "loss": "a"}
CELLS = (IntRange("epochs", 1, 5, step=2), Choice("loss", ("a", "b")))


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def memory():
    return Memory()


@pytest.fixture(params=["memory", slow("database")])
def storage(request, tmp_path):
    return Memory() if request.param == "memory" else Database(tmp_path / "study.db")


def open_ledger(storage, *, space=SPACE, recipe=None, **search):
    return open_search(storage.open(), space, recipe=recipe, **{"trials": 6, "seed": 3, **search})


def open_in(folder):
    search = SearchConfig(sampler="random", trials=6, seed=3, recipe_first=True)
    pruner = build_pruner(StoppingConfig(kind="none"), 0.25)
    storage = open_storage(folder / "study.db")
    return SearchLedger(storage, points=Points(SPACE), search=search, pruner=pruner, rungs=RUNGS, recipe=RECIPE)


def finish(ledger, record, score):
    ledger.report(record.number, report_at(1.0, score))
    ledger.complete(record.number, score)


def run_all(ledger, score=lambda params: params["epochs"]):
    while (record := ledger.ask()) is not None:
        finish(ledger, record, float(score(record.params)))


def raise_interrupt(*_, **__):
    raise KeyboardInterrupt


# -- points --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["tpe", "random", slow("qmc"), slow("gp")])
def test_every_sampler_spends_the_budget_with_the_recipe_first(memory, sampler):
    ledger = open_ledger(memory, sampler=sampler, startup_trials=2, recipe=RECIPE)
    run_all(ledger, score=lambda params: params["lr"])
    assert [r.number for r in ledger.trials] == list(range(6))
    assert {r.state for r in ledger.trials} == {"complete"}
    assert ledger.trials[0].params == RECIPE
    assert len({tuple(r.params.values()) for r in ledger.trials}) == 6, "the sampler repeats points"


def test_partial_recipe_fixes_only_its_own_parameters(memory):
    drawn = open_ledger(memory, recipe={"epochs": 4}).ask().params
    assert drawn["epochs"] == 4
    assert drawn.keys() == {"lr", "epochs", "loss"}


def test_recipe_is_not_first_if_disabled(memory):
    assert open_ledger(memory, recipe=RECIPE, recipe_first=False).ask().params != RECIPE


@pytest.mark.parametrize(
    ("recipe", "first"),
    [
        ({"epochs": 3, "loss": "b"}, (3, "b")),
        ({"loss": "b"}, (1, "b")),
        ({"epochs": 2, "loss": "b"}, (1, "a")),
        ({}, (1, "a")),
        (None, (1, "a")),
    ],
    ids=["whole", "partial", "off the grid", "empty", "disabled"],
)
def test_grid_visits_every_cell_once_with_the_recipes_values_first(memory, recipe, first):
    for _ in range(6):  # a new process for every trial
        ledger = open_ledger(memory, space=CELLS, sampler="grid", trials=100, recipe=recipe)
        assert ledger.budget == 6
        record = ledger.ask()
        finish(ledger, record, 0.5)
    assert ledger.ask() is None
    cells = [(r.params["epochs"], r.params["loss"]) for r in ledger.trials]
    assert cells[0] == first
    assert sorted(cells) == [(e, loss) for e in (1, 3, 5) for loss in ("a", "b")]


def test_grid_of_decimal_steps_visits_every_cell_once(memory):
    """0.3 of the grid and 3 x 0.1 in binary are different numbers."""
    ledger = open_ledger(memory, space=(FloatRange("x", 0.0, 1.0, step=0.1),), sampler="grid", trials=100, recipe={})
    run_all(ledger, score=lambda params: params["x"])
    assert [r.params["x"] for r in ledger.trials] == [n / 10 for n in range(11)]


@pytest.mark.parametrize("sampler", ["grid", "random"])
def test_a_sweep_without_a_space_is_one_trial_with_any_sampler(memory, sampler):
    ledger = open_ledger(memory, space=(), sampler=sampler, trials=1, recipe={})
    run_all(ledger, score=lambda _: 0.5)
    assert [r.params for r in ledger.trials] == [{}]


@pytest.mark.parametrize(
    ("storage", "sampler", "recipe"),
    [
        *(("memory", sampler, recipe) for sampler in ("random", "tpe") for recipe in (RECIPE, {"epochs": 4}, None)),
        *(slow("memory", sampler, recipe) for sampler in ("qmc", "gp") for recipe in (RECIPE, {"epochs": 4})),
        slow("database", "qmc", None),
    ],
    indirect=["storage"],
)
def test_a_crash_inside_ask_changes_no_later_draw(storage, monkeypatch, sampler, recipe):
    """Every trial is drawn by a process that dies before it is written, then by another that dies after its end."""
    space = (IntRange("only", 7, 7), *SPACE)
    search = {"space": space, "sampler": sampler, "startup_trials": 2, "recipe": recipe}
    reference = open_ledger(Memory(), **search)
    run_all(reference)
    for number in range(6):
        dying = open_ledger(storage, **search)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(dying._storage, "create_new_trial", raise_interrupt)
            dying.ask()
        again = open_ledger(storage, **search)
        assert len(again.trials) == number, "the trial is absent, not partial"
        record = again.ask()
        assert (record.number, record.attempt) == (number, 1)
        finish(again, record, float(record.params["epochs"]))
    assert again.ask() is None
    assert [r.params for r in again.trials] == [r.params for r in reference.trials]


def test_trials_that_run_at_the_same_time_get_different_points(memory):
    for sampler in ("random", "qmc", "grid"):
        storage, space = Memory(), CELLS if sampler == "grid" else SPACE
        ledger = open_ledger(storage, sampler=sampler, space=space)
        points = [tuple(ledger.ask().params.values()) for _ in range(6)]
        assert len(set(points)) == 6, sampler


def test_larger_budget_extends_the_search(memory):
    ledger = open_ledger(memory, trials=2)
    run_all(ledger)
    assert ledger.ask() is None
    longer = open_ledger(memory, trials=4)
    run_all(longer)
    assert [r.number for r in longer.trials] == [0, 1, 2, 3]


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
    space = (Choice("loss", ("a", "b")),)
    ledger = open_ledger(memory, space=space, sampler="grid", trials=100)
    assert ledger.budget == 2
    few = open_ledger(memory, space=space, sampler="grid", trials=1)
    assert few.budget == 1, "fewer trials than cells"
    run_all(ledger, score=lambda _: 0.5)
    assert ledger.is_exhausted
    assert ledger.budget == 2


# -- interruptions -------------------------------------------------------------------------------------------


def test_interrupted_trials_resume_in_the_order_of_their_numbers(memory):
    first = open_ledger(memory)
    started = [first.ask().number for _ in range(3)]
    first.complete(started[1], 0.5)
    again = open_ledger(memory)
    assert [again.ask().number for _ in range(3)] == [started[0], started[2], 3]


def test_interrupted_trial_resumes_under_its_own_number(storage):
    first = open_ledger(storage, recipe=RECIPE)
    number, params = first.ask().number, first.record(0).params
    first.report(number, report_at(0.25, 0.5))
    again = open_ledger(storage, recipe=RECIPE)
    record = again.ask()
    assert (record.number, record.params, record.attempt) == (number, params, 2)
    again.report(number, report_at(0.25, 0.6))
    again.complete(number, 0.7)
    assert again.record(number).best == 0.7
    assert again.ask().number == 1


def test_only_a_trial_that_this_process_has_started_can_change(memory):
    first = open_ledger(memory)
    number = first.ask().number
    again = open_ledger(memory)
    for change in (
        lambda: again.report(number, report_at(0.25, 0.5)),
        lambda: again.complete(number, 0.5),
        lambda: again.fail(number, "scripted"),
        lambda: again.mark_lost(number, "scripted"),
    ):
        with pytest.raises(KeyError):
            change()
    assert again.record(number) == first.record(number)
    first.complete(number, 0.5)
    with pytest.raises(KeyError):
        first.set_attributes(number, late=True)


def test_losses_are_counted(memory):
    ledger = open_ledger(memory)
    for losses in (1, 2, 3):
        ledger.mark_lost(ledger.ask().number, "its process died")
        assert ledger.record(0).losses == losses


# -- reports -------------------------------------------------------------------------------------------------


def test_successive_halving_stops_the_worse_and_keeps_the_better(memory):
    ledger = open_ledger(memory, stopping="successive_halving")
    good, bad = ledger.ask().number, ledger.ask().number
    assert ledger.report(good, report_at(0.25, 0.9)) is False
    assert ledger.report(bad, report_at(0.25, 0.1)) is True
    ledger.stop(bad)
    assert ledger.report(good, report_at(0.5, 0.9)) is False
    ledger.complete(good, 0.9)
    states = {r.number: (r.state, r.best, r.fraction) for r in ledger.trials}
    assert states == {good: ("complete", 0.9, 0.5), bad: ("stopped", 0.1, 0.25)}


@pytest.mark.parametrize("stopping", ["hyperband", "none"])
def test_other_pruners_complete_a_search(memory, stopping):
    ledger = open_ledger(memory, stopping=stopping)
    run_all(ledger)
    assert len(ledger.trials) == 6


def test_a_record_has_the_reports_and_the_scores_of_the_best_one(storage):
    ledger = open_ledger(storage)
    number = ledger.ask().number
    assert (ledger.record(number).saved, ledger.record(number).scores) == (None, {})
    better, worse = report_at(0.5, 0.9), report_at(0.75, 0.4, best=0.9, best_fraction=0.5)
    for report in (report_at(0.25, 0.1), better, worse):
        ledger.report(number, report)
    record = open_ledger(storage).record(number)
    assert record.reports == (report_at(0.25, 0.1), better, worse)
    assert (record.saved, record.scores) == (better, better.scores)
    assert (record.best, record.fraction) == (0.9, 0.75)


def test_failed_trial_keeps_its_reason_and_cannot_be_best(memory):
    ledger = open_ledger(memory)
    number = ledger.ask().number
    ledger.fail(number, "training loss is nan by step 3")
    record = ledger.record(number)
    assert (record.state, record.attributes["reason"]) == ("failed", "training loss is nan by step 3")
    assert record.best is None


def test_a_non_finite_objective_is_never_the_best(memory):
    ledger = open_ledger(memory)
    number = ledger.ask().number
    ledger.complete(number, math.inf)
    assert ledger.record(number).best is None


def test_a_stop_is_returned_again_at_its_own_report_only(memory):
    first = open_ledger(memory, stopping="successive_halving")
    good, bad = first.ask().number, first.ask().number
    for fraction, value in ((0.25, 0.5), (0.5, 0.9)):
        assert not first.report(good, report_at(fraction, value))
    assert not first.report(bad, report_at(0.25, 0.6))
    assert first.report(bad, report_at(0.5, 0.7))
    again = open_ledger(memory, stopping="successive_halving")
    while again.ask().number != bad:
        pass
    assert not again.report(bad, report_at(0.25, 0.6))
    assert again.report(bad, report_at(0.5, 0.7))


@pytest.mark.parametrize(
    ("storage", "stopping"),
    [("memory", "successive_halving"), ("memory", "hyperband"), ("memory", "none"), slow("database", "hyperband")],
    indirect=["storage"],
)
@pytest.mark.parametrize("resumes", [True, False], ids=["resumes", "starts over"])
def test_a_crash_between_the_two_writes_of_a_report_changes_nothing(storage, monkeypatch, stopping, resumes):
    """The report is an attribute already, but the value that the pruner reads does not exist yet."""
    mine = [report_at(f, v, best=0.4, best_fraction=0.25, at=4 * f) for f, v in ((0.25, 0.4), (0.5, 0.3))]

    def begin(ledger):
        other, number = ledger.ask().number, ledger.ask().number
        for report in (report_at(0.25, 0.2), report_at(0.5, 0.8, at=2.0)):
            ledger.report(other, report)
        ledger.complete(other, 0.8)
        assert not ledger.report(number, mine[0])
        return number

    reference = open_ledger(Memory(), stopping=stopping)
    should_stop = reference.report(begin(reference), mine[1])
    assert should_stop is (stopping == "successive_halving")

    dying = open_ledger(storage, stopping=stopping)
    number = begin(dying)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(dying._storage, "set_trial_intermediate_value", raise_interrupt)
        dying.report(number, mine[1])
    again = open_ledger(storage, stopping=stopping)
    assert again.record(number).reports == (mine[0],), "half a report does not count"
    assert again.ask().number == number
    assert again.record(number).reports == ()
    if resumes:
        again.record_report(number, mine[0])
    else:
        assert not again.report(number, report_at(0.25, 0.4, at=61.0))
    repeated = mine[1] if resumes else report_at(0.5, 0.3, best=0.4, best_fraction=0.25, at=62.0)
    assert again.report(number, repeated) is should_stop
    assert again.record(number).reports == tuple(mine), "each once, with its first time"
    again.stop(number)
    assert (again.record(number).best, again.record(number).fraction) == (0.4, 0.5)


@pytest.mark.parametrize("write", ["set_trial_user_attr", "set_trial_system_attr"])
def test_a_crash_between_the_writes_of_a_stop_does_not_revoke_it(memory, monkeypatch, write):
    """Optuna's pruner evaluates a rung once, so that its answer must be recorded before the rung."""
    dying = open_ledger(memory, stopping="successive_halving")
    good, bad = dying.ask().number, dying.ask().number
    dying.report(good, report_at(0.25, 0.5))
    dying.record_report(bad, report_at(0.25, 0.4))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(dying._storage, write, raise_interrupt)
        dying.should_stop(bad)
    again = open_ledger(memory, stopping="successive_halving")
    assert [again.ask().number for _ in range(2)] == [good, bad]
    assert not again.report(good, report_at(0.25, 0.5))
    assert again.report(bad, report_at(0.25, 0.4))


def test_reports_of_an_interrupted_attempt_do_not_count_for_the_next(storage):
    """The next attempt starts over and is stopped earlier with a lower score: samplers learn from Optuna's value."""
    first = open_ledger(storage)
    number = first.ask().number
    first.report(number, report_at(0.25, 0.3))
    first.report(number, report_at(0.5, 0.9))
    again = open_ledger(storage)
    again.ask()
    assert (again.record(number).best, again.record(number).fraction) == (None, 0.0)
    again.report(number, report_at(0.25, 0.4))
    again.stop(number)
    for ledger in (again, open_ledger(storage)):
        record, frozen = ledger.record(number), ledger._study.trials[number]
        assert (record.state, record.best, record.fraction) == ("stopped", 0.4, 0.25)
        assert record.scores == {64: {"map@100": 0.4}}
        assert (frozen.value, frozen.intermediate_values) == (0.4, {250: 0.4})


def test_pruning_ignores_reports_of_earlier_attempts(storage, monkeypatch):
    """An attempt died between its report and the pruner's decision, and its state is lost: it reports there again."""
    first = open_ledger(storage, stopping="successive_halving")
    good = first.ask().number
    for fraction, value in ((0.25, 0.5), (0.5, 0.9)):
        assert not first.report(good, report_at(fraction, value))
    number = first.ask().number
    assert not first.report(number, report_at(0.25, 0.6))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(first._study.pruner, "prune", raise_interrupt)
        first.report(number, report_at(0.5, 0.1))
    again = open_ledger(storage, stopping="successive_halving")
    while again.ask().number != number:
        pass
    assert not again.report(number, report_at(0.25, 0.6))
    assert not again.report(number, report_at(0.5, 0.95))


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_metadata_persists_and_can_be_read_by_read_ledger(tmp_path):
    path = tmp_path / "study.db"
    ledger = open_in(tmp_path)
    ledger.set_metadata(identity={"a": 1})
    ledger.set_metadata(result={"b": [1, 2]})
    run_all(ledger)
    ConfirmationLedger(open_storage(path), "confirmation", [{"trial": 0, "seed": 1}]).ask()
    notes, trials = read_ledger(path)
    assert notes == {"ledger_format": LEDGER_FORMAT, "identity": {"a": 1}, "result": {"b": [1, 2]}}
    assert len(trials) == 6
    assert {name: len(records) for name, records in read_phases(path).items()} == {"sweep": 6, "confirmation": 1}
    assert read_ledger(tmp_path / "absent.db") is None
    assert read_phases(tmp_path / "absent.db") == {}


@pytest.mark.parametrize("found", [None, LEDGER_FORMAT - 1, LEDGER_FORMAT + 1])
def test_a_ledger_of_another_format_is_refused(tmp_path, found):
    """Format 1 has no number. Its metadata can be read nevertheless, to count evaluations on the test split."""
    path = tmp_path / "study.db"
    metadata = {"name": "old", "looks": [1]} | ({} if found is None else {FORMAT_KEY: found})
    open_in(tmp_path)._study.set_user_attr(METADATA, metadata)
    for read in (lambda: open_in(tmp_path), lambda: read_ledger(path), lambda: read_phases(path)):
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
