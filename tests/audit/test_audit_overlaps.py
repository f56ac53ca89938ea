"""Windows of one document on two sides of the split."""

from __future__ import annotations

import random

import pytest

from embsweep.audit.overlaps import find_overlaps, report_overlaps
from embsweep.audit.split_view import TEST, TRAIN, VALIDATION, Side, SplitView

WORDS = [f"word{n}" for n in range(5000)]


def view(train, test):
    sides = (
        Side(TRAIN, {f"q{n}": (text,) for n, text in enumerate(train)}),
        Side(VALIDATION, {"v": ("another text without any of these words in it at all",)}),
        Side(TEST, {f"t{n}": (text,) for n, text in enumerate(test)}),
    )
    return SplitView(sides, (), (*train, *test))


def window(start, size=60):
    words = random.Random(1).sample(WORDS, 400)
    return " ".join(words[start : start + size])


@pytest.mark.parametrize(("start", "count"), [(12, 1), (48, 1), (52, 1), (54, 0), (60, 0), (200, 0)])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_window_that_begins_with_the_end_of_another_one_overlaps_it(start, count, is_first):
    texts = (window(0), window(start))
    found = find_overlaps(view([texts[is_first]], [texts[not is_first]]))
    assert (found.queries[TEST], found.queries[VALIDATION]) == (count, 0)
    assert [finding.severity for finding in report_overlaps(found)] == ["warning"] * count


def test_a_common_beginning_or_quotation_is_no_overlap():
    form = " ".join(WORDS[:20])
    texts = [f"{form} {window(0)}", f"{form} {window(100)}", f"{window(200)} {form} {window(300)}"]
    assert find_overlaps(view(texts[:1], texts[1:])).queries[TEST] == 0


def test_texts_shorter_than_a_run_are_no_error():
    assert find_overlaps(view(["a b"], ["a b c"])).queries[TEST] == 0
