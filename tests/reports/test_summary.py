"""The printed result of a sweep: every dimension, the winner and its certainty, and complete commands."""

import io

import pytest
from rich.console import Console

from embsweep.reports.summary import NextCommands, print_result
from embsweep.reports.text import gain, score
from embsweep.reports.view import Result
from embsweep.selection.evidence import BASE, WINNER
from tests.reports.evidence_samples import make_evidence, make_verdict, nine_queries, rehearsal, tied
from tests.texts import numbers_in

REGISTERED = "mine version 1, alias challenger"


@pytest.fixture(scope="module")
def typical():
    return make_evidence()


def lines_of(evidence, command="python run_sweep.py +sweep=x", width=110):
    console = Console(file=io.StringIO(), width=width)
    commands = NextCommands(command, "embsweep ui", "embsweep promote x")
    print_result(console, Result(evidence, REGISTERED), commands)
    return console.file.getvalue().splitlines()


def test_every_dimension_with_base_best_gain_and_certainty(typical):
    rows = {
        line.split()[0]: line.split() for line in lines_of(typical) if line.split()[:1] in (["384"], ["128"], ["64"])
    }
    for dim in typical.dims:
        validation = [typical.validation[name][dim]["map@100"] for name in (BASE, WINNER)]
        test = [typical.test[name].scores[dim]["map@100"] for name in (BASE, WINNER)]
        (against,) = (c for c in typical.comparisons if (c.reference, c.dim) == (BASE, dim))
        expected = [
            *map(score, validation), gain(validation[1] - validation[0]), *map(score, test), gain(test[1] - test[0]),
            gain(against.low), "to", gain(against.high), score(against.adjusted_p),
        ]  # fmt: skip
        assert rows[str(dim)][1:] == expected


def test_winner_with_parameters_and_registered_version(typical):
    lines = lines_of(typical)
    objective, base = typical.on_validation(WINNER), typical.on_validation(BASE)
    (winner,) = (line for line in lines if line.startswith("Winner: "))
    assert numbers_in(winner) == [3, float(score(objective)), float(score(base))]
    assert "  train.learning_rate = 3.25e-05" in lines
    assert "  matryoshka = halving" in lines
    assert any(REGISTERED in line for line in lines)
    assert any("3e-09" in line and "1e-06" in line for line in lines)
    assert any(numbers_in(line)[:2] == [60, 30] for line in lines), "test queries and passage groups"


def test_counts_of_zero_are_omitted(typical):
    def counts(evidence):
        (line,) = (line for line in lines_of(evidence) if line.startswith("Trials: "))
        return numbers_in(line)

    assert counts(typical) == [3, 4, 1]
    assert counts(typical.model_copy(update={"counts": {"complete": 8, "failed": 0}})) == [8]


NOT_SURE = {
    "worse than the base model": (make_evidence(gain=-0.2), "base model"),
    "too few queries": (nine_queries(), "base model"),
    "another rule": (make_evidence(verdict=make_verdict(rule="Highest of all")), "Highest of all"),
    "tied": (tied(), "0, 3"),
    "nothing run again": (make_evidence(verdict=make_verdict("unconfirmed")), "confirm"),
    "the second holdout evaluation": (make_evidence(holdout_evaluations=2), " 2 "),
    "a warning": (make_evidence(verdict=make_verdict(warnings=("no real warning",))), "no real warning"),
}


@pytest.mark.parametrize("name", NOT_SURE)
def test_every_uncertainty_is_shown(typical, name):
    """The wording is in messages.txt."""
    evidence, named = NOT_SURE[name]
    usual = lines_of(typical, width=400)
    assert any(named in line for line in lines_of(evidence, width=400) if line not in usual)


def test_every_run_of_the_confirmation_is_shown(typical):
    row = next(line for line in lines_of(typical) if line.strip().startswith("★3"))
    assert row.split() == ["★3", ".5523", ".5499", "-.0024", ".5511", ".5487"]
    assert any("0 recipe" in line for line in lines_of(typical))


def test_next_commands_are_complete(typical):
    lines = lines_of(typical, command="python run_sweep.py +sweep=x search.trials=8")
    assert any(line.endswith(" embsweep ui") for line in lines)
    assert any(line.endswith(" embsweep promote x") for line in lines)
    (extend,) = (line for line in lines if line.startswith("Extend"))
    assert "python run_sweep.py +sweep=x search.trials=16 " in extend
    assert numbers_in(extend) == [16, 8]
    assert any(line.endswith(" python run_sweep.py +sweep=x search.trials=8 sweep.fresh=true") for line in lines)


def test_a_rehearsal_is_extended_past_its_cap():
    (extend,) = (line for line in lines_of(rehearsal()) if line.startswith("Extend"))
    assert "search.trials=16 scale.rehearsal.max_trials=16" in extend


def test_a_single_configuration_has_no_command_to_extend():
    lines = lines_of(make_evidence(space={}))
    assert not any(line.startswith("Extend") for line in lines)


@pytest.mark.parametrize("width", [20, 60])
def test_commands_are_never_wrapped(typical, width):
    command = "python run_sweep.py +sweep=x 'data.pairs=/a/b/[odd]/name.jsonl' " + "train.epochs=1 " * 10
    lines = lines_of(typical, command=command, width=width)
    assert any(line.endswith(f" {command} sweep.fresh=true") for line in lines)
