"""A ledger whose values contradict its own scores is refused, with the trial, the key and both values."""

import json
import shutil
import sqlite3
import time
from contextlib import closing

import pytest

from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import CodedError
from embsweep.search.confirmation import ConfirmationLedger
from embsweep.sweep.ledger_check import check_ledger
from tests.ledgers import Database, open_search, report_at
from tests.refusals import raises_code
from tests.sweep.schedulers import SPACE

pytestmark = pytest.mark.slow
OBJECTIVE = ObjectiveConfig(metric="map@100", aggregate="mean")
BASELINE = {"scores": {"64": {"map@100": 0.4}}, "objective": 0.4, "bm25": {"map@100": 0.1}}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """Return a ledger with complete, paused, failed, interrupted, running and confirmed trials."""
    database = Database(tmp_path_factory.mktemp("ledger") / "study.db")
    ledger = open_search(database.open(), SPACE, stopping="promotion", trials=30)
    ledger.set_metadata(name="s", baseline=BASELINE)
    numbers = [ledger.ask().number for _ in range(5)]
    for number in numbers:
        ledger.report(number, report_at(0.25, 0.5 + number / 100))
        ledger.report(number, report_at(0.5, 0.45, best=0.5 + number / 100, best_fraction=0.25))
    ledger.complete(0, 0.5)
    ledger.stop(1)
    ledger.fail(2, "loss is nan")
    ledger.reopen(3)
    confirmation = ConfirmationLedger(database.open(), "confirmation", [{"trial": 0, "seed": 1}])
    number = confirmation.ask().number
    confirmation.report(number, report_at(1.0, 0.6))
    confirmation.complete(number, 0.6)
    return database.path


@pytest.fixture
def path(untouched, tmp_path):
    return shutil.copy(untouched, tmp_path / "study.db")


def change(path, *statement):
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute(*statement).rowcount > 0
        connection.commit()


def test_an_untouched_ledger_agrees(path):
    check_ledger(path, OBJECTIVE)


def test_values_of_an_interrupted_trial_are_not_compared_because_it_repeats_them(path):
    change(path, "UPDATE trial_intermediate_values SET intermediate_value = .9 WHERE trial_id = 4")
    check_ledger(path, OBJECTIVE)


TRIAL, REPORT = "(SELECT trial_id FROM trials WHERE study_id = {} AND number = {})", "report/1"
EDITS = {
    "value": (f"UPDATE trial_values SET value = .9 WHERE trial_id = {TRIAL.format(1, 0)}", "trial 0: value is 0.9"),
    "at a rung": (
        f"UPDATE trial_intermediate_values SET intermediate_value = .9999 WHERE trial_id = {TRIAL.format(1, 1)}",
        "trial 1: value at 25% of the schedule is 0.9999",
    ),
    "not reported": (
        f"UPDATE trial_intermediate_values SET step = 999 WHERE step = 500 AND trial_id = {TRIAL.format(1, 1)}",
        "trial 1: value at 99.9% of the schedule is 0.51, but there is no report",
    ),
    "confirmed": (
        f"UPDATE trial_values SET value = .61 WHERE trial_id = {TRIAL.format(2, 0)}",
        "value is 0.61, but its scores give 0.6",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_value_that_was_edited(path, edit):
    statement, text = EDITS[edit]
    change(path, statement)
    with raises_code(CodedError, "contradiction") as caught:
        check_ledger(path, OBJECTIVE)
    assert text in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert "sweep.fresh=true" in str(caught.value)


@pytest.mark.parametrize(("key", "trial"), [("objective", 2), ("objective", 3), ("best_objective", 1)])
def test_a_report_that_was_edited(path, key, trial):
    edit = f"json_set(value_json, '$.{key}', .9)"
    change(
        path,
        f"UPDATE trial_user_attributes SET value_json = {edit} WHERE key = ? AND trial_id = ?",
        (REPORT, trial + 1),
    )
    with raises_code(CodedError, "contradiction") as caught:
        check_ledger(path, OBJECTIVE)
    assert f"trial {trial}: {REPORT} {key} is 0.9, but its scores give 0.5" in str(caught.value)


def test_the_baseline(path):
    notes = json.dumps({"ledger_format": 4, "name": "s", "baseline": {**BASELINE, "objective": 0.1}})
    change(path, "UPDATE study_user_attributes SET value_json = ? WHERE key = 'embsweep' AND study_id = 1", (notes,))
    with raises_code(CodedError, "contradiction") as caught:
        check_ledger(path, OBJECTIVE)
    assert "the base model: objective is 0.1" in str(caught.value)


def test_floors_that_refer_to_the_base_model(path):
    """All of these trials are above it, so that their objectives are their scores."""
    check_ledger(path, OBJECTIVE.model_copy(update={"floors": {64: "base"}}))
    with raises_code(CodedError, "contradiction"):
        check_ledger(path, OBJECTIVE.model_copy(update={"floors": {64: 0.9}}))


def test_three_hundred_trials_take_less_than_a_second(path):
    with closing(sqlite3.connect(path)) as connection:
        for copy in range(100, 400):
            for table, columns in (
                ("trials", "number, study_id, state"),
                ("trial_user_attributes", "key, value_json"),
                ("trial_values", "objective, value, value_type"),
                ("trial_intermediate_values", "step, intermediate_value, intermediate_value_type"),
            ):
                values = columns.replace("number", str(copy))
                connection.execute(
                    f"INSERT INTO {table} (trial_id, {columns}) SELECT {copy}, {values} FROM {table} WHERE trial_id = 1"
                )
        connection.commit()
    begin = time.process_time()
    check_ledger(path, OBJECTIVE)
    assert time.process_time() - begin < 1
    change(path, "UPDATE trial_values SET value = .9 WHERE trial_id = 350")
    with raises_code(CodedError, "contradiction"):
        check_ledger(path, OBJECTIVE)
