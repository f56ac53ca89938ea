"""The result of a sweep: every dimension, the winner, and commands that can be copied."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from embsweep.report.summary import print_result
from embsweep.report.view import Result


def scores(**by_dim):
    return {int(dim.removeprefix("d")): {"map@100": value, "ndcg@10": 0.0} for dim, value in by_dim.items()}


RESULT = Result(
    winner=7,
    params={"train.learning_rate": 2.123456e-05, "matryoshka": "halving", "train.epochs": 3},
    objective=0.6,
    baseline_objective=0.5,
    validation=scores(d64=0.55, d1024=0.65),
    base_validation=scores(d64=0.5, d1024=0.66),
    test=scores(d64=0.53, d1024=0.64),
    base_test=scores(d64=0.51, d1024=0.61),
    bm25_validation=0.4,
    bm25_test=0.42,
    registered="mine version 1, alias challenger",
    is_rehearsal=False,
    counts={"complete": 5, "stopped": 3, "failed": 0},
)


def lines_of(result=RESULT, command="python run_sweep.py +sweep=x", width=100):
    console = Console(file=io.StringIO(), width=width)
    print_result(console, result, command=command, ui_command="embsweep ui")
    return console.file.getvalue().splitlines()


def test_every_dimension_with_base_best_and_gain_of_both_splits():
    rows = [line.split() for line in lines_of() if line.split()[:1] in (["1024"], ["64"])]
    assert rows == [
        ["1024", ".6600", ".6500", "-.0100", ".6100", ".6400", "+.0300"],
        ["64", ".5000", ".5500", "+.0500", ".5100", ".5300", "+.0200"],
    ]


def test_winner_its_parameters_and_where_it_is():
    lines = lines_of()
    assert "Winner: trial 7, objective .6000 (base .5000)" in lines
    assert "  train.learning_rate = 2.123e-05" in lines
    assert "  matryoshka = halving" in lines
    assert "  train.epochs = 3" in lines
    assert "Registered: mine version 1, alias challenger" in lines
    assert "BM25: .4000 validation, .4200 test." in "\n".join(lines)


def test_counts_leave_out_what_did_not_happen():
    assert "Trials: 5 complete, 3 stopped" in lines_of()


def test_what_to_do_next():
    lines = lines_of(command="python run_sweep.py +sweep=x search.trials=8")
    assert "Compare the trials:  embsweep ui" in lines
    (extend,) = (line for line in lines if line.startswith("Extend"))
    assert "python run_sweep.py +sweep=x search.trials=16 " in extend
    assert extend.endswith("(any number above 8)")
    assert "Repeat it afresh:    python run_sweep.py +sweep=x search.trials=8 sweep.fresh=true" in lines


def test_a_rehearsal_is_extended_past_its_cap():
    (extend,) = (line for line in lines_of(replace(RESULT, is_rehearsal=True)) if line.startswith("Extend"))
    assert "search.trials=16 scale.rehearsal.max_trials=16" in extend


def test_one_trial_alone_has_nothing_to_extend():
    lines = lines_of(replace(RESULT, params={}, counts={"complete": 1}))
    assert not any(line.startswith("Extend") for line in lines)


@pytest.mark.parametrize("width", [20, 60])
def test_commands_are_never_wrapped(width):
    command = "python run_sweep.py +sweep=x 'data.pairs=/a/b/[odd]/name.jsonl' " + "train.epochs=1 " * 10
    assert f"Repeat it afresh:    {command} sweep.fresh=true" in lines_of(command=command, width=width)
