"""Expected false negatives of a batch, compared with counts over all batches and over drawn batches."""

import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import TRAIN, as_splits, make_rows, valid_sides

from embsweep.audit.in_batch_negatives import count_false_negatives
from embsweep.data.collection import Pair


def count(rows, size, sampler="batch_sampler"):
    config = TRAIN.model_copy(update={"batch_size": size, "batch_sampler": sampler})
    return count_false_negatives(rows, config)


def count_wrong(batch, answers):
    """Count the passages and negatives of other rows in the batch that are relevant to a query."""
    return sum(
        (other.positive in answers[row.anchor]) + sum(text in answers[row.anchor] for text in other.negatives)
        for row in batch
        for other in batch
        if other is not row
    )


def list_answers(rows):
    answers = {}
    for row in rows:
        answers.setdefault(row.anchor, set()).add(row.positive)
    return answers


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8, unique=True)


@pytest.mark.slow
@settings(max_examples=80, deadline=None)
@given(ROWS, st.integers(2, 5), st.booleans())
def test_at_random_equals_the_mean_over_all_batches(drawn, size, with_negatives):
    answers = list_answers([Pair(f"q{q}", f"p{p}") for q, p in drawn])
    rows = []
    for q, p in drawn:
        free = next(n for n in range(6) if f"p{n}" not in answers[f"q{q}"])
        rows.append(Pair(f"q{q}", f"p{p}", (f"p{free}",) if with_negatives else ()))
    batches = list(combinations(rows, min(size, len(rows))))
    expected = np.mean([count_wrong(batch, answers) for batch in batches])
    assert count(rows, size).at_random == pytest.approx(expected)


def test_without_duplicates_is_near_the_mean_over_drawn_batches():
    draw = random.Random(3)
    rows = [Pair(f"q{q}", f"p{p}") for q, p in {(draw.randrange(60), draw.randrange(40)) for _ in range(160)}]
    answers, counted = list_answers(rows), []
    for _ in range(2500):
        batch, seen = [], set()
        for row in draw.sample(rows, len(rows)):
            if len(batch) < 8 and not seen & {row.anchor, row.positive}:
                batch.append(row)
                seen |= {row.anchor, row.positive}
        counted.append(count_wrong(batch, answers))
    assert count(rows, 8).without_duplicates == pytest.approx(np.mean(counted), rel=0.1)


def test_several_queries_of_a_passage_are_no_false_negatives_without_duplicates():
    rows = [Pair(query, passage) for query, passage in make_rows(100, questions=5)]
    expected = count(rows, 16, "no_duplicates")
    assert expected.at_random == pytest.approx(16 * 15 * 4 / 99)
    assert expected.without_duplicates == expected.chosen == 0
    assert count(rows, 16).chosen == expected.at_random


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "questions", "severity"),
    [("batch_sampler", 1, None), ("no_duplicates", 5, "note"), ("batch_sampler", 5, "warning")],
)
def test_severity_depends_on_sampler_and_queries_per_passage(findings_of, sampler, questions, severity):
    _, validation, test = valid_sides()
    splits = as_splits(make_rows(200, start=5000, questions=questions), validation, test)
    finding = findings_of(splits, batch_sampler=sampler).get("in-batch-false-negatives")
    assert (finding and finding.severity) == severity
