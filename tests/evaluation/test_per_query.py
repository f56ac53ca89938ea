"""Each query's score on disk: read back only where it gives the recorded means."""

import math

import numpy as np
import pytest

from embsweep.core.errors import CodedError
from embsweep.evaluation.per_query import load_per_query, save_per_query
from tests.refusals import raises_code


def read_back(folder, values, recorded):
    path = folder / "per_query.npz"
    save_per_query(path, {dim: np.array(one) for dim, one in values.items()})
    scores = {dim: {"map@100": mean, "ndcg@10": 0.0} for dim, mean in recorded.items()}
    return {dim: one.tolist() for dim, one in load_per_query(path, scores, "map@100").items()}


def test_what_was_written_is_read(tmp_path):
    values = {256: [0.25, 0.75], 64: [0.0, 0.5]}
    assert read_back(tmp_path, values, {256: 0.5, 64: 0.25}) == values


@pytest.mark.parametrize(
    ("values", "recorded"),
    [
        ({64: [0.5, math.nan]}, {64: 0.5}),
        ({64: [math.inf, -math.inf]}, {64: 0.5}),
        ({64: [math.inf, 0.5]}, {64: 0.5}),
        ({64: [0.5, 0.5]}, {64: math.nan}),
        ({64: [math.nan]}, {64: math.nan}),
        ({64: []}, {64: 0.5}),
        ({64: [0.5, 0.5]}, {64: 0.5 + 1e-8}),
        ({64: [0.5, 0.5]}, {64: 0.5 - 1e-8}),
        ({128: [0.5]}, {128: 0.5, 64: 0.5}),
        ({128: [0.5], 64: [math.nan]}, {128: 0.5, 64: 0.5}),
    ],
)
@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
def test_what_does_not_give_the_recorded_means_is_refused(tmp_path, values, recorded):
    with raises_code(CodedError, "not-reproduced") as caught:
        read_back(tmp_path, values, recorded)
    assert str(caught.value).startswith(f"{tmp_path / 'per_query.npz'}: ")
