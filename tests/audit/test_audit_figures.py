"""Figures of the audit: structure, held-out sides, lengths, truncated tokens, languages and sampling."""

import math

import pytest
from made_up import MINILM, as_splits, make_rows, make_text, valid_sides
from tests.texts import numbers_in

from embsweep.audit.languages import Languages, report_languages
from embsweep.audit.lengths import measure_lengths
from embsweep.audit.split_view import draw_sample

GERMAN = "Der Versicherte hat Anspruch auf eine Rente, wenn er die Wartezeit von fünf Jahren erfüllt hat, Absatz {}."
SPANISH = "El asegurado tiene derecho a una pensión cuando haya cumplido el plazo de espera de cinco años, artículo {}."
QUESTION = "Wann haben Versicherte nach Absatz {} einen Anspruch auf diese Rente?"
ENGLISH = "When are insured persons entitled to this pension according to section {}?"


def in_languages(query, passage, count=320):
    rows = [(query.format(number), passage.format(number)) for number in range(count)]
    return as_splits(rows[: count - 200], rows[count - 200 : count - 100], rows[count - 100 :])


# -- structure -----------------------------------------------------------------------------------------------


def test_several_queries_per_passage_are_named_and_counted(audit):
    _, validation, test = valid_sides()
    report = audit(
        as_splits(make_rows(100, start=5000, questions=4), validation, test, unjudged=["so zu sagen nichts"])
    )
    finding = next(finding for finding in report.findings if finding.name == "several-questions-per-passage")
    assert finding.severity == "note"
    assert numbers_in(finding.message) == [25, 225, 1.3, 4]
    assert report.figures.structure.queries_per_passage == {0: 1, 1: 200, 4: 25}
    assert report.figures.structure.passages_per_query == {1: 300}


def test_several_passages_per_query(findings_of):
    train, validation, test = valid_sides()
    train[1] = (train[0][0], train[1][1])
    message = findings_of(as_splits(train, validation, test))["several-passages-per-query"].message
    assert numbers_in(message) == [1, 299, 2]


def test_one_to_one_pairs_have_no_finding_on_structure(findings_of):
    names = set(findings_of(as_splits(*valid_sides())))
    assert not names & {"several-questions-per-passage", "several-passages-per-query", "unjudged-passages"}


# -- held out ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("queries", "questions", "small"), [(120, 1, False), (99, 1, True), (120, 6, True)])
def test_few_held_out_queries_or_groups_are_a_warning(findings_of, queries, questions, small):
    train, _, test = valid_sides()
    splits = as_splits(train, make_rows(queries, start=6000, questions=questions), test)
    finding = findings_of(splits).get("few-held-out-queries")
    assert (finding is not None) == small
    if finding is not None:
        groups = math.ceil(queries / questions)
        assert finding.severity == "warning"
        assert numbers_in(finding.message)[:2] == [queries, groups]
        assert "validation" in finding.message and "test" not in finding.message


def test_the_detectable_difference_falls_with_the_square_root_of_the_queries(audit):
    draw = valid_sides(train=200)
    hard = [(make_text(f"other{number}", 6), passage) for number, (_, passage) in enumerate(draw[0])]
    figures = audit(as_splits(hard, draw[1][:25], draw[2][:100])).figures
    few, more = figures.held_out
    assert (few.queries, more.queries) == (25, 100)
    assert few.detectable == pytest.approx(2 * more.detectable)
    assert few.detectable == pytest.approx(2.8 * figures.readings[0].spread / 5)


def test_no_difference_is_claimed_where_bm25_ranks_nearly_all_queries_alike(audit):
    passages = [passage for _, passage in make_rows(72)]
    rows = [(f"about subject{number}", f"subject{number} {passage}") for number, passage in enumerate(passages)]
    report = audit(as_splits(rows[:60], rows[60:66], rows[66:]))
    assert [side.detectable for side in report.figures.held_out] == [None, None]
    finding = next(finding for finding in report.findings if finding.name == "few-held-out-queries")
    assert numbers_in(finding.message) == [6, 6, 100, 25, 6, 6, 100, 25], "queries and groups; MAP@100 and BM25 by name"


# -- lengths -------------------------------------------------------------------------------------------------


def test_lengths_in_words_by_powers_of_two():
    lengths = measure_lengths([" ".join(["w"] * count) for count in (0, 1, 2, 3, 3, 9)])
    assert dict(lengths.histogram) == {"0": 1, "1": 1, "2–3": 3, "4–7": 0, "8–15": 1}
    assert (lengths.texts, lengths.median, lengths.longest) == (6, 2, 9)


@pytest.mark.parametrize(("words", "severity"), [(61, None), (62, "note"), (63, "note"), (80, "warning")])
def test_truncated_tokens(findings_of, words, severity):
    sides = [[("where?", " ".join(["house"] * (words - 1) + [letter]))] for letter in "abc"]
    finding = findings_of(as_splits(*sides), model=MINILM.model_copy(update={"max_seq_length": 63})).get("cut-texts")
    assert (finding and finding.severity) == severity
    if finding is not None:
        assert numbers_in(finding.message)[:2] == [63, 100], "limit in tokens, % of the passages that are longer"


def test_the_share_of_truncated_tokens_is_exact(audit):
    train, validation, test = valid_sides()
    sides = [
        [(f"house {query}", " ".join(["house"] * 98)) for query, _ in side[:1]] for side in (train, validation, test)
    ]
    report = audit(as_splits(*sides), model=MINILM.model_copy(update={"max_seq_length": 50}))
    cut = report.figures.cuts["passages"]  # one passage of 98 words and two special tokens
    assert (cut.limit, cut.longest, cut.cut_texts, cut.cut_tokens) == (50, 100, 1.0, 0.5)


def test_a_missing_tokenizer_is_a_note(findings_of):
    finding = findings_of(as_splits(*valid_sides()))["tokens-unknown"]
    assert finding.severity == "note"
    assert "'absent'" in finding.message


# -- languages -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_languages_are_counted(audit):
    report = audit(in_languages(QUESTION, GERMAN))
    assert next(iter(report.figures.languages.passages)) == "de"
    assert next(iter(report.figures.languages.queries)) == "de"
    assert not {"languages-differ", "language-mix"} & {finding.name for finding in report.findings}


@pytest.mark.slow
def test_queries_in_a_different_language_than_their_passages_are_a_warning(findings_of):
    finding = findings_of(in_languages(ENGLISH, GERMAN))["languages-differ"]
    assert finding.severity == "warning"
    assert finding.message.index("'en'") < finding.message.index("'de'")


@pytest.mark.slow
def test_a_mix_of_languages_is_a_note(findings_of):
    rows = [(QUESTION.format(n), (SPANISH if n % 5 == 0 else GERMAN).format(n)) for n in range(320)]
    findings = findings_of(as_splits(rows[:120], rows[120:220], rows[220:]))
    assert findings["language-mix"].severity == "note"
    assert "de 80%, es 20%" in findings["language-mix"].message


def test_a_few_short_texts_taken_for_another_language_are_ignored():
    some = Languages({"und": 950, "gl": 50}, {"es": 1000}, rows=1000, differing=50)
    many = Languages({"und": 850, "gl": 150}, {"es": 1000}, rows=1000, differing=150)
    assert "languages-differ" not in {finding.name for finding in report_languages(some)}
    assert "languages-differ" in {finding.name for finding in report_languages(many)}


# -- sampling ------------------------------------------------------------------------------------------------


def test_a_sample_is_evenly_spaced_and_deterministic():
    assert draw_sample(range(10), 5) == (0, 2, 4, 6, 8)
    assert draw_sample(range(3), 5) == (0, 1, 2)
    assert draw_sample([], 5) == ()
