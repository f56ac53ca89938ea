"""Checks of single texts: without a word, very short, equal to their answer, or in the wrong column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from statistics import median

from embsweep.audit.findings import MAX_EXAMPLES, Example, Finding
from embsweep.audit.split_view import SplitView
from embsweep.data.text import normalise_text
from embsweep.data.words import split_words

_LETTER_OR_DIGIT = re.compile(r"[^\W_]")


def is_wordless(text: str) -> bool:
    """Return whether a text has neither a letter nor a digit."""
    return _LETTER_OR_DIGIT.search(text) is None


_PLACEHOLDERS = frozenset(
    ("nan", "<na>", "nat", "none", "null", "n/a", "#n/a", "#nv", "#value!", "#wert!", "#ref!", "#bezug!", "#name?")
)
"""What pandas, Python and spreadsheets in English and German write for a missing or wrong value, normalised."""


def is_empty(text: str) -> bool:
    """Return whether a text has no word, or only stands for a missing value."""
    return is_wordless(text) or normalise_text(text) in _PLACEHOLDERS


EMPTY_IS_ERROR = 0.01
"""Share of queries or of passages from which texts without a word are an error."""

SHORT_WORDS = {"queries": 2, "passages": 3}
"""A text with fewer words than this is very short; a query of one word may still be valid."""

SHORT_IS_WARNING = 0.05
SWAPPED_LENGTHS = 2.0
QUESTION_SHARE = 0.5

_QUESTION_MARKS = ("?", "？", "؟", "\u037e", "՞")
"""U+037E is the Greek question mark. The semicolon looks the same but is not included: statutes end items with it."""


def report_texts(data: SplitView) -> Iterator[Finding]:
    """Yield the findings about single texts and about the two columns."""
    kinds = {"queries": data.queries, "passages": data.corpus}
    yield from _report_empty(kinds)
    yield from _report_short(kinds)
    yield from _report_equal(data)
    yield from _report_columns(data)


def _report_empty(kinds: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    found = {what: [text for text in texts if is_empty(text)] for what, texts in kinds.items()}
    if any(found.values()):
        is_error = any(len(found[what]) >= EMPTY_IS_ERROR * len(texts) for what, texts in kinds.items() if found[what])
        yield Finding(
            "empty-texts",
            "error" if is_error else "warning",
            f"{_count(found, kinds)} hold neither a letter nor a digit, or stand for a missing value",
            _examples(found),
        )


def _report_short(kinds: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    found = {
        what: [text for text in texts if not is_empty(text) and len(split_words(text)) < SHORT_WORDS[what]]
        for what, texts in kinds.items()
    }
    if any(found.values()):
        share = max(len(found[what]) / len(texts) for what, texts in kinds.items())
        limits = ", ".join(f"{what} below {words}" for what, words in SHORT_WORDS.items())
        yield Finding(
            "short-texts",
            "warning" if share >= SHORT_IS_WARNING else "note",
            f"{_count(found, kinds)} are very short (words of {limits})",
            _examples(found),
        )


def _report_equal(data: SplitView) -> Iterator[Finding]:
    equal = [query for query, passage in data.rows if normalise_text(query) == normalise_text(passage)]
    if equal:
        yield Finding(
            "query-equals-passage",
            "warning",
            f"in {len(equal):,} of {len(data.rows):,} rows the query is its own passage",
            tuple((query,) for query in equal[:MAX_EXAMPLES]),
        )


def _report_columns(data: SplitView) -> Iterator[Finding]:
    """Yield an error if queries are much longer than passages, or passages are questions much more often."""
    passages = tuple(dict.fromkeys(passage for _, passage in data.rows))
    lengths = {what: median(map(len, texts)) for what, texts in (("queries", data.queries), ("passages", passages))}
    asking = {what: _share_asking(texts) for what, texts in (("queries", data.queries), ("passages", passages))}
    reasons = []
    if lengths["queries"] > SWAPPED_LENGTHS * lengths["passages"]:
        reasons.append(f"the median query has {lengths['queries']:g} characters, passage {lengths['passages']:g}")
    if asking["passages"] >= QUESTION_SHARE and asking["queries"] < asking["passages"] / 2:
        reasons.append(
            f"{asking['passages']:.0%} of the passages are questions, {asking['queries']:.0%} of the queries"
        )
    if reasons:
        yield Finding("columns-swapped", "error", f"the columns look swapped: {'; '.join(reasons)}", data.rows[:1])


def _share_asking(texts: Sequence[str]) -> float:
    return sum(text.rstrip().endswith(_QUESTION_MARKS) for text in texts) / len(texts)


def _count(found: dict[str, list[str]], kinds: dict[str, tuple[str, ...]]) -> str:
    return " and ".join(f"{len(texts):,} of {len(kinds[what]):,} {what}" for what, texts in found.items() if texts)


def _examples(found: dict[str, list[str]]) -> tuple[Example, ...]:
    return tuple((text,) for texts in found.values() for text in texts)[:MAX_EXAMPLES]
