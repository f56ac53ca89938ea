"""The benchmarks' results, as they are recorded: whether a figure is what is wanted, and the table in the docs."""

import importlib.util
import sys
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "benchmarks/bench.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench", PATH)
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("ratio", "better", "wanted", "equal", "ok"),
    [
        (2.0, "higher", 2.0, True, True),
        (1.99, "higher", 2.0, True, False),
        (1.2, "lower", 1.2, True, True),
        (1.21, "lower", 1.2, True, False),
        (9.0, "lower", None, True, True),
        (9.0, "higher", 2.0, False, False),
        (9.0, "lower", None, False, False),
    ],
)
def test_a_figure_counts_if_results_are_equal_and_it_is_reached(bench, ratio, better, wanted, equal, ok):
    assert bench.is_ok(ratio, better, wanted, equal=equal) is ok


def test_the_page_shows_the_recorded_results(bench):
    results = bench.read_results()
    table = bench.PAGE.read_text().partition(bench.BEGIN)[2].partition(bench.END)[0]
    assert results
    assert table == bench.describe(results)
    for row in results:
        assert row["ok"] is bench.is_ok(row["ratio"], row["better"], row["wanted"], equal=row["equal"])
