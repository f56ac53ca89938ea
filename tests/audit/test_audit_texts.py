"""Findings on invalid texts and on swapped columns."""

import pytest
from made_up import as_splits, make_text, valid_sides
from tests.texts import numbers_in

from embsweep.audit.texts import is_wordless
from embsweep.data.words import split_words


def swap(side):
    return [(passage, query) for query, passage in side]


def test_swapped_columns_are_an_error_detected_by_length(findings_of):
    finding = findings_of(as_splits(*map(swap, valid_sides())))["columns-swapped"]
    assert finding.severity == "error"
    query, passage = numbers_in(finding.message)[:2]
    assert query > 2 * passage > 0, "median lengths in characters"
    assert "data.anchor" in finding.hint and "data.positive" in finding.hint


def test_passages_that_are_the_questions_are_an_error_of_any_length(findings_of):
    sides = [[(make_text(query, 6), query) for query, _ in side] for side in valid_sides()]
    finding = findings_of(as_splits(*sides))["columns-swapped"]
    assert finding.severity == "error"
    assert numbers_in(finding.message) == [100, 0]


def test_passages_that_end_with_a_semicolon_are_not_questions(findings_of):
    sides = [[(make_text(query, 6), f"{make_text(passage, 8)};") for query, passage in side] for side in valid_sides()]
    assert "columns-swapped" not in findings_of(as_splits(*sides))


@pytest.mark.slow
@pytest.mark.parametrize("words", [4, 6, 11])
def test_queries_up_to_twice_as_long_as_passages_are_not_swapped(findings_of, words):
    sides = [[(query, make_text(passage, words)) for query, passage in side] for side in valid_sides()]
    assert "columns-swapped" not in findings_of(as_splits(*sides))


def test_questions_to_questions_are_not_swapped(findings_of):
    sides = [[(query, f"{make_text(passage, 8)}?") for query, passage in side] for side in valid_sides()]
    assert "columns-swapped" not in findings_of(as_splits(*sides))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "severity"), [(2, "warning"), (3, "error")])
def test_texts_without_a_word_are_an_error_from_one_percent(findings_of, count, severity):
    train, validation, test = valid_sides()
    train[:count] = [(train[row][0], "—" * (row + 1)) for row in range(count)]
    finding = findings_of(as_splits(train, validation, test))["empty-texts"]
    assert finding.severity == severity
    assert numbers_in(finding.message)[:2] == [count, 300]
    assert ("—",) in finding.examples


@pytest.mark.parametrize("text", ["nan", "NULL", "#N/A", "None"])
def test_texts_that_stand_for_a_missing_value_are_empty(findings_of, text):
    train, validation, test = valid_sides()
    train[0] = (train[0][0], text)
    assert (text,) in findings_of(as_splits(train, validation, test))["empty-texts"].examples


@pytest.mark.slow
@pytest.mark.parametrize(("count", "severity"), [(1, "note"), (14, "note"), (15, "warning")])
def test_very_short_texts(findings_of, count, severity):
    train, validation, test = valid_sides()
    train[:count] = [(make_text(query, 1), passage) for query, passage in train[:count]]
    finding = findings_of(as_splits(train, validation, test))["short-texts"]
    assert finding.severity == severity
    assert numbers_in(finding.message)[:2] == [count, 300]


def test_a_query_that_is_its_own_passage(findings_of):
    train, validation, test = valid_sides()
    train[0] = (train[0][1].upper(), train[0][1])
    finding = findings_of(as_splits(train, validation, test))["query-equals-passage"]
    assert finding.severity == "warning"
    assert numbers_in(finding.message) == [1, 300]


@pytest.mark.parametrize(
    ("text", "words"),
    [("Was gilt?", 2), ("年金", 2), ("§ 12", 1), ("a_b c", 2), ("…", 0), ("Ünlü", 1), ("قانون مدني", 2)],
)
def test_words(text, words):
    assert len(split_words(text)) == words
    assert is_wordless(text) == (words == 0)
