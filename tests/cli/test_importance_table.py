"""The table of `embsweep status NAME --importance`, and its sentences where nothing can be said."""

import io

import pytest
from rich.console import Console
from typer.testing import CliRunner

from embsweep.cli.commands import app
from embsweep.cli.importance_table import print_importance
from embsweep.config.search_space import FloatRange
from embsweep.search.attribution import Share, TargetImportance
from embsweep.search.importance import Importance
from tests.ledgers import Database, open_search, report_at
from tests.sweep.schedulers import METADATA

PARAMS = ("train.epochs", "train.warmup", "matryoshka.weight_power")
SHARES = {"train.warmup": Share(0.25, 0.0, 0.4), "matryoshka.weight_power": Share(0.75, 0.6, 1.0)}
FEW = TargetImportance(12, reason="too few trials to say (12 with a value, at least 20 are needed)")


def shown(targets, width=80):
    output = io.StringIO()
    print_importance(Importance(PARAMS, targets), Console(file=output, width=width))
    return output.getvalue().strip().splitlines()


def test_the_table_has_the_largest_share_first_and_explains_its_columns():
    title, *rows, metric, same = shown(
        {"objective": TargetImportance(60, SHARES), "map@100/64": TargetImportance(60, SHARES)}
    )
    assert "60 trials" in title
    assert [row.split() for row in rows] == [
        ["parameter", "objective", "90%", "interval", "64"],
        ["matryoshka.weight_power", "75%", "60%", "to", "100%", "75%"],
        ["train.warmup", "25%", "0%", "to", "40%", "25%"],
        ["train.epochs", "–", "–", "–"],
    ]
    assert "map@100" in metric
    assert same.endswith(": train.epochs")


def test_with_too_few_trials_there_is_one_sentence():
    assert shown({"objective": FEW, "map@100/64": FEW}) == [f"What mattered: {FEW.reason}."]


def test_targets_about_which_nothing_can_be_said_are_named():
    *rows, last = shown({"objective": FEW, "map@100/64": TargetImportance(60, SHARES)})
    assert last == f"objective: {FEW.reason}."
    assert [row.split() for row in rows[2:4]] == [
        ["matryoshka.weight_power", "–", "–", "75%"],
        ["train.warmup", "–", "–", "25%"],
    ]


def test_the_table_of_six_dimensions_fits_into_eighty_columns():
    targets = {"objective": TargetImportance(60, SHARES)} | {
        f"map@100/{dim}": TargetImportance(60, SHARES) for dim in (1024, 768, 512, 256, 128, 64)
    }
    assert max(map(len, shown(targets))) <= 80
    assert shown(targets)[1:5] == shown(targets, width=120)[1:5]


def test_importance_without_a_name_is_an_error(tmp_path):
    result = CliRunner().invoke(app, ["status", "--importance", "--storage", str(tmp_path)])
    assert result.exit_code == 2
    assert "NAME" in result.output


@pytest.mark.slow
def test_status_shows_what_mattered_instead_of_the_trials(tmp_path):
    ledger = open_search(Database(tmp_path / "sweeps/s/study.db").open(), (FloatRange("x", 0.0, 1.0),))
    ledger.set_metadata(**METADATA, requested_trials=3, identity={"objective.metric": "map@100"})
    number = ledger.ask().number
    ledger.set_attributes(number, started_at=0.0, ended_at=60.0)
    ledger.report(number, report_at(1.0, 0.5))
    ledger.complete(number, 0.5)
    result = CliRunner().invoke(app, ["status", "s", "--importance", "--storage", str(tmp_path)])
    assert result.exit_code == 0
    assert (
        result.output.splitlines()[-1]
        == "What mattered: too few trials to say (1 with a value, at least 20 are needed)."
    )
