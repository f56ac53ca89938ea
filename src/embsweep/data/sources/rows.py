"""Conversion of rows to pairs: lists of positives and negatives, missing negatives, scores and groups."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from embsweep.core.names import NO_SLICE
from embsweep.data.collection import Pair
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.slices import to_label
from embsweep.data.sources.columns import Columns, list_names, setting, validate_header
from embsweep.data.sources.readers.table import Row
from embsweep.data.sources.usual_names import LABELS, find_usual
from embsweep.data.text import is_blank, parse_text

WITHOUT_NEGATIVE = "rows without a hard negative"
BEYOND_LIMIT = "hard negatives beyond data.max_negatives, left out"
LOW_SCORE = "pairs left out because of data.score"
WITHOUT_GROUP = "rows without data.group"
_NOT_RELEVANT = frozenset(("false", "no", "irrelevant", "not_relevant", "not relevant", "negative", "contradiction"))
_MISSING = object()
_PYTHON_LIST = re.compile(r"\s*\[(?:'[^']*'|\"[^\"]*\")(?:,?\s.*)?\]\s*\Z", re.DOTALL)
"""A list as `str` writes it; spreadsheets and `to_csv` keep it so."""


def read_passage(
    row: Mapping[str, Any], name: str, title: str | None, where: str, diagnostics: DiagnosticList
) -> str | None:
    """Return the passage of a row of a corpus, with its title, if there is one; None if it is blank or invalid."""
    value, head = row.get(name), row.get(title) if title else None
    if value is None or (isinstance(value, str) and is_blank(value)):
        return None
    joined = f"{head} {value}" if isinstance(head, str) and head and isinstance(value, str) else value
    return parse_text(joined, where, name, diagnostics)


def read_label(row: Mapping[str, Any], name: str | None, where: str, diagnostics: DiagnosticList) -> str | None:
    """Return the label of a row's slice: `NO_SLICE` if it has no value, None without `data.slice`.

    Args:
        row: Values by column name.
        name: Column of the slice; `a.b` is the value `b` of the object in column `a`.
        where: Place of the row, for the diagnostic.
        diagnostics: Receives a diagnostic if the value is a list or an object.
    """
    if name is None:
        return None
    value = _get(row, name, None)
    if _is_missing(value):
        return NO_SLICE
    _check_single(value, name, where, diagnostics)
    return to_label(value)


def _check_single(value: Any, name: str, where: str, diagnostics: DiagnosticList) -> None:
    if isinstance(value, list | dict):
        diagnostics.add("wrong-type", where, f"column '{name}' is not one value", value)


class RowReader:
    """Converts rows to pairs, and counts what it leaves out."""

    def __init__(self, columns: Columns, min_score: float | None, diagnostics: DiagnosticList) -> None:
        self._columns, self._min_score, self._diagnostics = columns, min_score, diagnostics
        self.counts: Counter[str] = Counter()

    def read(self, where: str, row: Mapping[str, Any], side: str | None = None) -> list[Pair]:
        """Return one pair for each positive of a row; none if a diagnostic was recorded, or the scores are too low."""
        columns, before = self._columns, len(self._diagnostics)
        if not validate_header(columns.required, row, where, self._diagnostics):
            return []
        if _get(row, columns.positive) == []:
            self._diagnostics.add("missing-value", where, f"column '{columns.positive}' is an empty list")
            return []
        positives = self._select_by_score(row, _flatten(_get(row, columns.positive)), where)
        if not positives:
            return []
        anchor = self._read_anchor(row, where)
        texts = [self._parse(value, where, columns.positive) for value in positives]
        negatives = self._read_negatives(row, where)
        group, label = self._read_group(row, where), read_label(row, self._columns.slice, where, self._diagnostics)
        if len(self._diagnostics) > before or anchor is None:
            return []
        distinct = [text for text in dict.fromkeys(texts) if text is not None]
        return [Pair(anchor, text, negatives, where, group, side, label) for text in distinct]

    def _read_anchor(self, row: Mapping[str, Any], where: str) -> str | None:
        name = self._columns.anchor
        value = _get(row, name)
        if not isinstance(value, list):
            return self._parse(value, where, name)
        problem, expected = f"column '{name}' is a list, not text", "one query per row"
        hint = f"jq -c '.{name}[] as $one | .{name} = $one' OLD > pairs.jsonl"
        self._diagnostics.add("wrong-type", where, problem, value, expected=expected, hint=hint)
        return None

    def _read_negatives(self, row: Mapping[str, Any], where: str) -> tuple[str, ...]:
        """Return the negatives of all columns; null, NaN, an empty text and an empty list are none."""
        columns = self._columns
        if not columns.negatives:
            return ()
        found: list[str] = []
        for name in columns.negatives:
            for value in _flatten(_get(row, name, None)):
                if _is_missing(value):
                    continue
                text = self._parse(value, where, name)
                found += [] if text is None else [text]
        distinct = tuple(dict.fromkeys(found))
        self.counts[WITHOUT_NEGATIVE] += not distinct
        self.counts[BEYOND_LIMIT] += max(0, len(distinct) - columns.max_negatives)
        return distinct[: columns.max_negatives]

    def _parse(self, value: Any, where: str, name: str) -> str | None:
        if isinstance(value, str) and _PYTHON_LIST.match(value):
            problem = f"column '{name}' holds a list that Python wrote as text"
            hint = "write the data with to_json(…, lines=True) or to_parquet, not to_csv"
            self._diagnostics.add("wrong-type", where, problem, value, expected="a text, or a list in JSON", hint=hint)
            return None
        if isinstance(value, Mapping) and value:
            parts = list_names([f"{name}.{part}" for part in value])
            problem, expected = f"column '{name}' is an object, not text", f"a text, or the name of a part: {parts}"
            self._diagnostics.add("wrong-type", where, problem, value, expected=expected)
            return None
        return parse_text(value, where, name, self._diagnostics)

    def _read_group(self, row: Mapping[str, Any], where: str) -> str | None:
        if self._columns.group is None:
            return None
        value = _get(row, self._columns.group, None)
        if _is_missing(value):
            self.counts[WITHOUT_GROUP] += 1
            return None
        _check_single(value, self._columns.group, where, self._diagnostics)
        return str(value).strip()

    def _select_by_score(self, row: Mapping[str, Any], positives: list[Any], where: str) -> list[Any]:
        """Return the positives of sufficient score: a row has one score, or one for each of its positives."""
        name = self._columns.score
        if name is None:
            return positives
        given = _get(row, name)
        scores = [parse_score(value) for value in (given if isinstance(given, list) else [given] * len(positives))]
        if None in scores or len(scores) != len(positives):
            problem = f"column '{name}' is not a number"
            if None not in scores:
                problem = f"column '{name}' has not one score for each positive"
            self._diagnostics.add("wrong-type", where, problem, given, expected="a number, or one for each positive")
            return []
        kept = [text for text, score in zip(positives, scores, strict=True) if self._is_enough(score)]
        self.counts[LOW_SCORE] += len(positives) - len(kept)
        return kept

    def _is_enough(self, score: float | None) -> bool:
        if score is None:
            return False
        return score > 0 if self._min_score is None else score >= self._min_score


def _get(row: Mapping[str, Any], name: str, default: Any = _MISSING) -> Any:
    """Return the value of a column; `a.b` is also the value `b` of the objects in column `a`."""
    if name in row:
        return row[name]
    top, _, rest = name.partition(".")
    if rest and top in row:
        inner = row[top]
        parts = [_get(part, rest, None) if isinstance(part, Mapping) else None for part in _as_list(inner)]
        return parts if isinstance(inner, list) else parts[0]
    return None if default is _MISSING else default


def _is_missing(value: Any) -> bool:
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or (isinstance(value, str) and is_blank(value))


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _flatten(value: Any) -> list[Any]:
    """Return the texts of a value: of a list each, of an object with a title and a text both, joined by a space.

    A list that was written to a CSV file as JSON is a list, too.
    """
    if isinstance(value, str) and value.lstrip().startswith('["') and value.rstrip().endswith("]"):
        value = _parse_list(value)
    if isinstance(value, list):
        return [part for item in value for part in _flatten(item)] or [None]
    if isinstance(value, Mapping) and isinstance(text := value.get("text"), str):
        title = value.get("title")
        return [f"{title} {text}" if isinstance(title, str) and title else text]
    return [value]


def _parse_list(text: str) -> Any:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return parsed if isinstance(parsed, list) and all(isinstance(item, str) for item in parsed) else text


def parse_score(value: Any) -> float | None:
    """Return a number, also from a text with a decimal point or comma, or from true and false; None if it is none."""
    if isinstance(value, str):
        try:
            value = float(value.strip().replace(",", "."))
        except ValueError:
            return {"true": 1.0, "false": 0.0}.get(value.strip().lower())
    return float(value) if isinstance(value, int | float) and not math.isnan(value) else None


def find_label_columns(columns: Columns, present: Sequence[str]) -> list[str]:
    """Return the unused columns that may say that a row's passage does not answer its query."""
    return [name for name in find_usual(LABELS, present) if name not in columns.names]


def find_inner_labels(columns: Columns, rows: Sequence[Row]) -> list[str]:
    """Return the unused labels inside the objects that hold the positives, such as `passages.is_selected`."""
    top = columns.positive.partition(".")[0]
    objects = (part for _, row in rows for part in _as_list(row.get(top)) if isinstance(part, Mapping))
    names = [f"{top}.{name}" for name in find_usual(LABELS, next(objects, {}))]
    return [name for name in names if name not in columns.names]


def check_labels(names: Iterable[str], rows: Sequence[Row], diagnostics: DiagnosticList) -> Iterator[str]:
    """Record a diagnostic for each column that marks some pairs, not all, as not relevant: they would be trained on.

    Yields:
        A line for each column of scores that are all above 0.
    """
    for name in names:
        placed = [(place, value) for place, row in rows for value in _list_labels(row, name)]
        values = [value for _, value in placed]
        wrong = [place for place, value in placed if _is_not_relevant(value)]
        if wrong and len(wrong) < len(values):
            diagnostics.add(
                "ambiguous",
                wrong[0],
                f"column '{name}' marks {len(wrong):,} of {len(values):,} pairs as not relevant, and all would be "
                "trained as positives",
                expected=f"{setting('score', name)} to leave them out, with data.min_score=<number> for another "
                "threshold (data.min_score=-1 keeps all)",
            )
        elif len({parse_score(value) for value in values} - {None}) > 1:
            yield f"column '{name}' holds scores and is not used; {setting('score', name)} data.min_score=<number> does"


def _list_labels(row: Mapping[str, Any], name: str) -> list[Any]:
    return [row[name]] if name in row else _as_list(_get(row, name, None))


def _is_not_relevant(value: Any) -> bool:
    score = parse_score(value)
    return score <= 0 if score is not None else str(value).strip().lower() in _NOT_RELEVANT
