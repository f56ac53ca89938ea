"""Overlapping windows of one document on two sides of the split, in scripts with and without spaces."""

import random

import pytest
from made_up import as_splits, make_text, valid_sides
from tests.texts import numbers_in

from embsweep.audit.overlaps import find_overlaps

SCRIPTS = {"zh": (0x4E00, 0x5E00), "ja": (0x3042, 0x3094), "th": (0x0E01, 0x0E2F), "km": (0x1780, 0x17A3)}


def draw_document(script, length):
    draw = random.Random(5)
    if script == "words":
        return [f"w{draw.randrange(900)} " for _ in range(length)]
    return [chr(draw.randrange(*SCRIPTS[script])) for _ in range(length)]


def cut_windows(size, overlap, script):
    document, step = draw_document(script, 4 * size), size - overlap
    return ["".join(document[start : start + size]).strip() for start in range(0, 4 * step, step)]


@pytest.mark.parametrize("script", ["words", *SCRIPTS])
@pytest.mark.parametrize(
    ("size", "overlap", "found"), [(60, 30, True), (60, 12, True), (60, 10, False), (200, 15, False)]
)
def test_windows_are_found_from_a_tenth_and_twelve_words(script, size, overlap, found):
    windows = cut_windows(size, overlap, script)
    pairs = list(find_overlaps(windows))
    assert pairs == ([(number, number + 1) for number in range(len(windows) - 1)] if found else [])


def test_windows_of_characters_that_cut_words_are_found():
    document = "".join(f"word{number} " for number in range(200))
    windows = [document[start : start + 400] for start in range(0, 1200, 250)]
    assert list(find_overlaps(windows)) == [(number, number + 1) for number in range(len(windows) - 1)]


def test_a_part_of_a_passage_overlaps_it_and_a_common_start_or_end_does_not():
    head, middle, tail = (make_text(name, 30) for name in ("head", "middle", "tail"))
    other = make_text("other", 30)
    assert list(find_overlaps([f"{head} {middle} {tail}", middle])) == [(0, 1)]
    assert list(find_overlaps([f"{head} {middle}", f"{head} {tail}"])) == []
    assert list(find_overlaps([f"{other} {middle}", f"{head} {middle}"])) == []


def test_held_out_passages_that_continue_a_training_passage_are_a_warning(findings_of):
    train, validation, test = valid_sides()
    shared = make_text("shared", 30)
    train[0] = (train[0][0], f"{train[0][1]} {shared}")
    test[0] = (test[0][0], f"{shared} {test[0][1]}")
    finding = findings_of(as_splits(train, validation, test))["overlapping-passages"]
    assert finding.severity == "warning"
    assert numbers_in(finding.message) == [1, len(test), pytest.approx(100 / len(test))]
    assert finding.examples == ((test[0][1], train[0][1]),)
    assert "data.group" in finding.hint


def test_windows_on_one_side_are_no_finding(findings_of):
    train, validation, test = valid_sides()
    shared = make_text("shared", 30)
    train[:2] = [(train[0][0], f"{train[0][1]} {shared}"), (train[1][0], f"{shared} {train[1][1]}")]
    assert "overlapping-passages" not in findings_of(as_splits(train, validation, test))
