"""Duplicates: merged ones are counted, near-duplicates are findings_of, and texts on two sides are errors."""

import dataclasses
import re

import pytest
from made_up import as_splits, make_rows, make_text, valid_sides
from tests.texts import numbers_in

from embsweep.audit.duplicates import NearDuplicateTexts, report_leaks
from embsweep.audit.split_view import Side


def change_word(text, to="xyz"):
    """Return the text with its last word replaced."""
    mark = "?" if text.endswith("?") else ""
    return " ".join([*text.rstrip("?").split()[:-1], to]) + mark


def extend(text, word="xyz"):
    """Return the question with one more word: 6 of 7 words are shared."""
    return f"{text.rstrip('?')} {word}?"


def figures_of(side, finding):
    """Return the numbers of one side from a finding's message; they follow the side's name."""
    return numbers_in(re.split(rf"\b{side} (?=\d)", finding.message)[1].split(",")[0])


def test_valid_data_has_no_error_and_no_warning(audit):
    report = audit(as_splits(*valid_sides()))
    assert report.of("error") == report.of("warning") == ()


def test_merged_duplicates_are_counted_by_kind(findings_of):
    merged = {"duplicate queries": 3, "normalised duplicate passages": 1200, "duplicate rows": 9}
    findings = findings_of(as_splits(*valid_sides()), merged=merged.items())
    assert numbers_in(findings["exact-duplicate-queries"].message) == [3]
    assert numbers_in(findings["normalised-duplicate-passages"].message) == [1200]
    assert "exact-duplicate-passages" not in findings
    assert findings["exact-duplicate-queries"].severity == "note"


@pytest.mark.slow
def test_other_notes_of_the_split_are_copied_to_the_finding(findings_of):
    merged = {"duplicate queries": 3, "judgements with a score of 0 or less": 1200}
    notes = ("duplicate queries: 3", "judgements with a score of 0 or less: 1,200", "max_pairs kept 9 of 40 pairs")
    splits = dataclasses.replace(as_splits(*valid_sides()), notes=notes)
    finding = findings_of(splits, merged=merged.items())["rows-left-out"]
    assert finding.message == "; ".join(notes[1:])
    assert finding.severity == "note"
    assert "rows-left-out" not in findings_of(dataclasses.replace(splits, notes=notes[:1]), merged=merged.items())


@pytest.mark.slow
@pytest.mark.parametrize("same", [str, str.upper, lambda text: text.replace(" ", "  ")])
def test_a_passage_on_two_sides_is_an_error(findings_of, same):
    train, validation, test = valid_sides()
    test[0] = (test[0][0], same(train[0][1]))
    finding = findings_of(as_splits(train, validation, test))["passage-on-two-sides"]
    assert finding.severity == "error"
    assert numbers_in(finding.message) == [1]
    assert "test" in finding.message and "validation" not in finding.message


def test_a_query_on_two_sides_is_an_error(findings_of):
    train, validation, test = valid_sides()
    test[0], test[1] = (validation[0][0], test[0][1]), (train[0][0].upper(), test[1][1])
    finding = findings_of(as_splits(train, validation, test))["query-on-two-sides"]
    assert finding.severity == "error"
    assert numbers_in(finding.message) == [1, 1]
    assert (validation[0][0],) in finding.examples


def test_a_hard_negative_that_answers_a_held_out_query_is_an_error(findings_of):
    train, validation, test = valid_sides()
    train = [(*row, test[0][1]) for row in train]
    finding = findings_of(as_splits(train, validation, test))["passage-on-two-sides"]
    assert numbers_in(finding.message) == [1]


def test_a_few_leaked_queries_are_a_warning(findings_of):
    train, validation, test = valid_sides()
    test[:3] = [(extend(train[row][0]), test[row][1]) for row in range(3)]
    finding = findings_of(as_splits(train, validation, test))["leaked-queries"]
    assert finding.severity == "warning"
    assert figures_of("test", finding) == [3, 100, 3.0]
    assert (test[0][0], train[0][0]) in finding.examples


@pytest.mark.slow
@pytest.mark.parametrize(("count", "severity"), [(19, "warning"), (20, "error")])
def test_leaked_queries_are_an_error_from_a_fifth(findings_of, count, severity):
    train, validation, test = valid_sides()
    validation[:count] = [(extend(train[row][0]), validation[row][1]) for row in range(count)]
    finding = findings_of(as_splits(train, validation, test))["leaked-queries"]
    assert finding.severity == severity
    assert figures_of("validation", finding)[:2] == [count, 100]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "severity"), [(9, "warning"), (10, "error")])
def test_leaked_passages_are_an_error_from_a_tenth(findings_of, count, severity):
    train, validation, test = valid_sides()
    test[:count] = [(test[row][0], change_word(train[row][1])) for row in range(count)]
    finding = findings_of(as_splits(train, validation, test))["leaked-passages"]
    assert finding.severity == severity
    assert figures_of("test", finding)[:2] == [count, 100]


def test_a_test_text_near_a_validation_text_leaks_too(findings_of):
    train, validation, test = valid_sides()
    test[0] = (test[0][0], change_word(validation[0][1]))
    assert figures_of("test", findings_of(as_splits(train, validation, test))["leaked-passages"])[:2] == [1, 100]


def test_near_duplicates_on_one_side_are_a_note(findings_of):
    train, validation, test = valid_sides()
    train[1] = (extend(train[0][0]), change_word(train[0][1]))
    findings = findings_of(as_splits(train, validation, test))
    assert findings["near-duplicate-queries"].severity == findings["near-duplicate-passages"].severity == "note"
    assert numbers_in(findings["near-duplicate-passages"].message)[:2] == [2, 300]
    assert not {"leaked-queries", "leaked-passages"} & set(findings)


def test_an_unjudged_passage_belongs_to_no_side_and_does_not_leak(findings_of):
    train, validation, test = valid_sides()
    findings = findings_of(as_splits(train, validation, test, unjudged=[change_word(test[0][1])]))
    assert "leaked-passages" not in findings
    assert numbers_in(findings["near-duplicate-passages"].message)[:2] == [2, 301]


def test_the_same_question_about_another_year_is_not_a_duplicate(findings_of):
    train, validation, test = valid_sides()
    question = f"{make_text('year', 12)} in"
    train[0], test[0] = (f"{question} 2020?", train[0][1]), (f"{question} 2021?", test[0][1])
    assert "leaked-queries" not in findings_of(as_splits(train, validation, test))


def test_every_query_of_a_leaked_passage_is_counted(findings_of):
    train, validation, _ = valid_sides()
    test = make_rows(100, start=2000, questions=4)
    near = change_word(train[0][1])
    test = [(query, near if passage == test[0][1] else passage) for query, passage in test]
    assert figures_of("test", findings_of(as_splits(train, validation, test))["leaked-passages"])[:2] == [4, 100]


@pytest.mark.parametrize(("validation", "test"), [(5, 1), (1, 5)])
@pytest.mark.parametrize("kind", ["queries", "passages"])
def test_the_worse_of_two_sides_determines_the_severity(kind, validation, test):
    sides = (
        Side("training", {"t": ("T",)}),
        Side("validation", {f"v{i}": (f"V{i}",) for i in range(20)}),
        Side("test", {f"q{i}": (f"Q{i}",) for i in range(20)}),
    )
    names = dict(zip(("validation", "test"), "vq" if kind == "queries" else "VQ", strict=True))
    counts = {"validation": validation, "test": test}
    leaks = {side: {f"{name}{i}": "t" for i in range(counts[side])} for side, name in names.items()}
    near = NearDuplicateTexts((), 0, (), True, leaks)
    (finding,) = report_leaks(kind, near, sides)
    assert finding.severity == "error"
    assert [figures_of(side, finding)[:2] for side in counts] == [[validation, 20], [test, 20]]
    few = dataclasses.replace(near, leaks={side: {f"{name}0": "t"} for side, name in names.items()})
    assert [finding.severity for finding in report_leaks(kind, few, sides)] == ["warning"]
