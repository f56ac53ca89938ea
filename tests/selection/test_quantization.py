"""Bytes, retention and the Pareto front of stored embeddings."""

import pytest

from embsweep.selection.evidence import Interval, QuantizationRecord
from embsweep.selection.quantization import compute_retention, find_smallest, pareto_front, vector_bytes


def make_record(dim, precision, mean, *, rescored=False, search_ms=1.0):
    score = Interval(mean=mean, low=0.0, high=1.0)
    size = vector_bytes(dim, precision)
    return QuantizationRecord(
        dim=dim, precision=precision, rescored=rescored, bytes=size, score=score, search_ms=search_ms
    )


EXACT, HALF = make_record(64, "float32", 0.8), make_record(64, "float16", 0.8)
INT8, SHORT = make_record(64, "int8", 0.76), make_record(16, "float32", 0.6)
BINARY = make_record(64, "binary", 0.4)
RESCORED = make_record(64, "binary", 0.7, rescored=True, search_ms=2.0)
RECORDS = (EXACT, HALF, INT8, SHORT, BINARY, RESCORED)


@pytest.mark.parametrize(
    ("dim", "precision", "expected"), [(100, "float32", 400), (100, "float16", 200), (9, "int8", 9), (9, "binary", 2)]
)
def test_bytes_of_a_vector(dim, precision, expected):
    assert vector_bytes(dim, precision) == expected


def test_retention_is_relative_to_float32_at_the_largest_dimension():
    assert compute_retention((SHORT, *RECORDS)) == pytest.approx((0.75, 1, 1, 0.95, 0.75, 0.5, 0.875))
    assert compute_retention([make_record(64, "float32", 0.0)]) == (None,)
    with pytest.raises(ValueError, match="float32"):
        compute_retention([INT8])


def test_the_front_has_a_higher_score_for_more_bytes():
    # SHORT has the bytes of INT8 and less; EXACT has the score of HALF for more bytes; BINARY that of RESCORED.
    assert pareto_front(RECORDS) == (RESCORED, INT8, HALF)
    assert pareto_front([make_record(64, "binary", 0.7, search_ms=3.0), RESCORED]) == (RESCORED,)
    assert pareto_front(()) == ()


@pytest.mark.parametrize(("share", "expected"), [(1.0, HALF), (0.95, INT8), (0.87, RESCORED), (0.0, RESCORED)])
def test_the_smallest_that_keeps_a_share(share, expected):
    assert find_smallest(RECORDS, least_retention=share) == expected


def test_a_share_that_nothing_keeps_is_refused():
    with pytest.raises(ValueError, match="110%"):
        find_smallest(RECORDS, least_retention=1.1)
