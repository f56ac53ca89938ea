"""Reading a ledger changes nothing beside it, and damage anywhere in it is an error that names the file."""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from tests.ledgers import Database, open_search, report_at
from tests.refusals import raises_code
from tests.sweep.schedulers import SPACE

from embsweep.core.errors import CodedError
from embsweep.search.read import explain_damage, read_ledger

NOTES = "UPDATE study_user_attributes SET value_json = ? WHERE key = 'embsweep'"
REPORTS = "UPDATE trial_user_attributes SET value_json = ? WHERE key LIKE 'report/%'"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the file of a ledger with one finished trial."""
    path = tmp_path_factory.mktemp("ledger") / "study.db"
    ledger = open_search(Database(path).open(), SPACE)
    ledger.set_metadata(name="s", title="t")
    number = ledger.ask().number
    ledger.report(number, report_at(1.0, 0.5))
    ledger.complete(number, 0.5)
    ledger._storage.engine.dispose()
    return path


@pytest.fixture
def path(finished, tmp_path):
    (tmp_path / "sweep").mkdir()
    return shutil.copy(finished, tmp_path / "sweep/study.db")


def change(path, *statement):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(*statement)
        connection.commit()


def contents(folder):
    return {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in folder.iterdir()}


def kill_in_a_transaction(path):
    """Leave the journal of a process that was killed while it wrote."""
    code = (
        "import os, sqlite3, sys; c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA cache_size=1'); c.execute('BEGIN IMMEDIATE')\n"
        "for i in range(9000): c.execute('INSERT INTO trial_user_attributes(trial_id, key, value_json) "
        "VALUES (1, ?, 1)', (f'x{i}',))\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False)
    assert path.with_name("study.db-journal").stat().st_size


def use_write_ahead_log(path):
    change(path, "PRAGMA journal_mode=WAL")


@pytest.mark.parametrize("prepare", [lambda path: None, kill_in_a_transaction, use_write_ahead_log])
def test_reading_changes_and_creates_nothing(path, prepare):
    prepare(path)
    before = contents(path.parent)
    notes, (trial,) = read_ledger(path)
    assert (notes["name"], trial.best, dict(trial.reached)) == ("s", 0.5, {1000: 0.5})
    assert contents(path.parent) == before


@pytest.mark.parametrize("statement", [None, ("CREATE TABLE other (x)",)])
def test_a_file_without_tables_has_no_study_and_gets_none(tmp_path, statement):
    path = tmp_path / "study.db"
    path.touch()
    if statement:
        change(path, *statement)
    before = contents(tmp_path)
    assert read_ledger(path) is None
    assert contents(tmp_path) == before


DAMAGE = {
    "cut": (NOTES, ('{"name": "s", "tit',)),
    "deep": (NOTES, ("[" * 100_000,)),
    "type": (NOTES, ("[1]",)),
    "report": (REPORTS, ('{"fraction": 1}',)),
    "infinite": (REPORTS, (json.dumps({"objective": float("nan")}),)),
    "time": ("UPDATE trials SET datetime_start = 'soon'",),
    "value": ("UPDATE trial_values SET value = 'high'",),
}


@pytest.mark.parametrize("damage", ["cut", *(pytest.param(d, marks=pytest.mark.slow) for d in list(DAMAGE)[1:])])
def test_damage_is_an_error_that_names_the_file_and_a_way_out(path, damage):
    change(path, *DAMAGE[damage])
    with raises_code(CodedError, "unreadable") as caught, explain_damage(path):
        _, trials = read_ledger(path)
        assert [trial.reports for trial in trials]
    assert str(caught.value).startswith(f"{path}: ")
    assert "sweep.fresh=true" in str(caught.value)
