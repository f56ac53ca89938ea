"""Fixtures: a hand-made view of a running sweep, and consoles that keep their output."""

import io

import pytest
from rich.console import Console

from embsweep.reports.view import SweepView, TrialRow


def row(number, state="complete", best=0.5, **more):
    given = {"fraction": 1.0, "params": f"learning_rate={number}e-05", "elapsed_s": 60.0, **more}
    return TrialRow(number=number, state=state, best=best, **given)


def make_view(*rows, requested_trials=10, slots=1, baseline=0.4, has_rungs=False):
    return SweepView("mine", "Sweep 'mine' on static", baseline, requested_trials, slots, rows, has_rungs)


def make_paused_view(**more):
    """Return a view of five trials that pause at rungs: two run, two are paused, one is complete."""
    return make_view(
        row(0, best=0.45),
        row(1, "paused", 0.41, fraction=0.25, label="paused at 25%"),
        row(2, "running", 0.52, fraction=0.3, label="promoted to 50%"),
        row(3, "paused", 0.48, fraction=0.25, label="paused at 25%"),
        row(4, "running", None, fraction=0.0, elapsed_s=None, label="running to 25%"),
        **{"has_rungs": True, **more},
    )


@pytest.fixture
def view():
    """Six trials of every state; trial 2 is the best."""
    return make_view(
        row(0, best=0.45),
        row(1, "stopped", 0.41, fraction=0.25, elapsed_s=30.0),
        row(2, best=0.52),
        row(3, "failed", 0.99, fraction=0.5, elapsed_s=None, note="loss is nan"),
        row(4, "running", 0.47, fraction=0.5, elapsed_s=20.0),
        row(5, "running", None, fraction=0.0, elapsed_s=None),
    )


@pytest.fixture
def plain():
    """A console that writes to a pipe: no terminal, no colours."""
    return Console(file=io.StringIO(), width=160, force_terminal=False)


@pytest.fixture
def terminal():
    return Console(file=io.StringIO(), width=100, height=40, force_terminal=True, color_system=None)
