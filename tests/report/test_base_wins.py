"""A sweep that made the model worse says so."""

import io

import pytest
from rich.console import Console

from embsweep.report.summary import print_result
from embsweep.report.view import Result


@pytest.mark.parametrize(("objective", "is_said"), [(0.4, True), (0.5, True), (0.6, False)])
def test_a_winner_that_loses_to_the_base_model_is_called_out(objective, is_said):
    scores = {64: {"map@100": objective}}
    base = {64: {"map@100": 0.5}}
    result = Result(
        winner=0,
        params={},
        objective=objective,
        baseline_objective=0.5,
        validation=scores,
        base_validation=base,
        test=scores,
        base_test=base,
        bm25_validation=0.1,
        bm25_test=0.1,
        registered="models:/x/1",
        is_rehearsal=False,
        counts={"complete": 1},
    )
    out = io.StringIO()
    print_result(Console(file=out, width=120), result, command="run", ui_command="ui")
    assert ("No trial beats the untrained base model" in out.getvalue()) == is_said
