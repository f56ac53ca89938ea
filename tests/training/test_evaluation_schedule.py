"""Rungs: conversion of fractions of the planned schedule to optimizer steps."""

from hypothesis import given
from hypothesis import strategies as st

from embsweep.training.callback import compute_evaluation_steps

fractions = st.lists(st.floats(0.001, 0.999), max_size=8).map(lambda drawn: sorted({*drawn, 1.0}))


@given(fractions, st.integers(1, 10_000))
def test_rungs_rise_and_end_with_the_last_step_at_one(given_fractions, total):
    rungs = compute_evaluation_steps(given_fractions, total)
    assert list(rungs) == sorted(rungs)
    assert list(rungs.values()) == sorted(rungs.values())
    assert max(rungs) == total
    assert rungs[total] == 1.0
    assert min(rungs) >= 1


def test_published_rungs_of_a_long_schedule():
    assert compute_evaluation_steps([0.0625, 0.25, 0.5, 1.0], 1600) == {100: 0.0625, 400: 0.25, 800: 0.5, 1600: 1.0}


def test_fractions_at_the_same_step_become_the_largest():
    assert compute_evaluation_steps([0.25, 0.5, 1.0], 1) == {1: 1.0}
