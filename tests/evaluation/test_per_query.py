"""Per-query scores on disk: loaded only if their means are the recorded scores."""

import math

import numpy as np
import pytest

from embsweep.core.errors import CodedError
from embsweep.evaluation.per_query import load_per_query, save_per_query
from tests.refusals import raises_code


def read_back(folder, values, recorded):
    path = folder / "per_query.npz"
    save_per_query(path, {dim: np.array(scores_of_dim) for dim, scores_of_dim in values.items()})
    scores = {dim: {"map@100": mean, "ndcg@10": 0.0} for dim, mean in recorded.items()}
    return {dim: scores_of_dim.tolist() for dim, scores_of_dim in load_per_query(path, scores, "map@100").items()}


def test_scores_are_unchanged_after_loading(tmp_path):
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
def test_scores_with_other_means_than_recorded_are_refused(tmp_path, values, recorded):
    with raises_code(CodedError, "not-reproduced") as caught:
        read_back(tmp_path, values, recorded)
    assert str(caught.value).startswith(f"{tmp_path / 'per_query.npz'}: ")
