"""The result of a sweep: every dimension, the winner and how sure it is, and commands that can be copied."""

import io

import pytest
from rich.console import Console

from embsweep.decide.evidence import BASE, WINNER
from embsweep.report.summary import print_result
from embsweep.report.text import gain, score
from embsweep.report.view import Result

from .evidence_samples import make_evidence, make_verdict, nine_queries, rehearsal, tied

REGISTERED = "mine version 1, alias challenger"


@pytest.fixture(scope="module")
def typical():
    return make_evidence()


def lines_of(evidence, command="python run_sweep.py +sweep=x", width=110):
    console = Console(file=io.StringIO(), width=width)
    print_result(console, Result(evidence, REGISTERED), command=command, ui_command="embsweep ui")
    return console.file.getvalue().splitlines()


def test_every_dimension_with_base_best_gain_and_certainty(typical):
    rows = {
        line.split()[0]: line.split() for line in lines_of(typical) if line.split()[:1] in (["384"], ["128"], ["64"])
    }
    for dim in typical.dims:
        validation = [typical.validation[name][dim]["map@100"] for name in (BASE, WINNER)]
        test = [typical.test[name].scores[dim]["map@100"] for name in (BASE, WINNER)]
        (against,) = (c for c in typical.comparisons if (c.rival, c.dim) == (BASE, dim))
        expected = [
            *map(score, validation), gain(validation[1] - validation[0]), *map(score, test), gain(test[1] - test[0]),
            gain(against.low), "to", gain(against.high), score(against.adjusted_p),
        ]  # fmt: skip
        assert rows[str(dim)][1:] == expected


def test_winner_its_parameters_and_where_it_is(typical):
    lines = lines_of(typical)
    objective, base = typical.on_validation(WINNER), typical.on_validation(BASE)
    assert f"Winner: trial 3, objective {score(objective)} (base {score(base)})" in lines
    assert "  train.learning_rate = 3.25e-05" in lines
    assert "  matryoshka = halving" in lines
    assert f"Registered: {REGISTERED}" in lines
    assert "Proven: read back in a fresh process, every metric within 3e-09 (1e-06 allowed)" in lines
    assert any("test (60 queries on 30 passage groups) was read once" in line for line in lines)


def test_counts_leave_out_what_did_not_happen(typical):
    assert "Trials: 3 complete, 4 stopped, 1 failed" in lines_of(typical)
    assert "Trials: 8 complete" in lines_of(typical.model_copy(update={"counts": {"complete": 8, "failed": 0}}))


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (make_evidence(), "It beats the base model on test."),
        (make_evidence(gain=-0.2), "It is worse than the base model on test."),
        (nine_queries(), "No difference from the base model is certain on test"),
        (make_evidence(verdict=make_verdict(rule="Highest of all")), "Highest of all."),
        (tied(), "Tied: trials 0, 3 cannot be told apart."),
        (make_evidence(verdict=make_verdict("unconfirmed")), "Not confirmed: nothing was run again"),
        (make_evidence(look=2), "was read in 2 looks"),
        (make_evidence(verdict=make_verdict(warnings=("too few queries",))), "Warning: too few queries"),
    ],
)
def test_what_is_not_sure_is_said(evidence, said):
    assert any(said in line for line in lines_of(evidence, width=400))


def test_every_run_of_the_confirmation_is_shown(typical):
    row = next(line for line in lines_of(typical) if line.strip().startswith("★3"))
    assert row.split() == ["★3", ".5523", ".5499", "-.0024", ".5511", ".5487"]
    assert any("0 recipe" in line for line in lines_of(typical))


def test_what_to_do_next(typical):
    lines = lines_of(typical, command="python run_sweep.py +sweep=x search.trials=8")
    assert "Compare the trials:  embsweep ui" in lines
    (extend,) = (line for line in lines if line.startswith("Extend"))
    assert "python run_sweep.py +sweep=x search.trials=16 " in extend
    assert extend.endswith("(any number above 8)")
    assert "Repeat it afresh:    python run_sweep.py +sweep=x search.trials=8 sweep.fresh=true" in lines


def test_a_rehearsal_is_extended_past_its_cap():
    (extend,) = (line for line in lines_of(rehearsal()) if line.startswith("Extend"))
    assert "search.trials=16 scale.rehearsal.max_trials=16" in extend


def test_one_trial_alone_has_nothing_to_extend():
    lines = lines_of(make_evidence(space={}))
    assert not any(line.startswith("Extend") for line in lines)


@pytest.mark.parametrize("width", [20, 60])
def test_commands_are_never_wrapped(typical, width):
    command = "python run_sweep.py +sweep=x 'data.pairs=/a/b/[odd]/name.jsonl' " + "train.epochs=1 " * 10
    assert f"Repeat it afresh:    {command} sweep.fresh=true" in lines_of(typical, command=command, width=width)
