"""Languages of queries and passages, detected from their texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from embsweep.audit.findings import MAX_EXAMPLES, Example, Finding
from embsweep.audit.split_view import SplitView, draw_sample

UNKNOWN = "und"
"""ISO 639 code of an undetermined language."""

MIX_SHARE = 0.05
DIFFER_SHARE = 0.2
MAIN_SHARE = 0.1

_MOST_ROWS = 1000
_MOST_CHARACTERS = 1000
_CONFIDENCE = 0.5
"""Threshold at which at most 1 % of real German, Spanish and English questions are misclassified (measured)."""


@dataclass(frozen=True)
class Languages:
    """Detected languages of a sample of `rows` rows.

    `queries` and `passages` map an ISO 639 code to its number of texts, most frequent first; `differing` rows have a
    query and a passage in two different known languages.
    """

    queries: Mapping[str, int]
    passages: Mapping[str, int]
    rows: int
    differing: int
    examples: tuple[Example, ...] = ()


def find_languages(data: SplitView) -> Languages:
    """Detect the languages of at most 1,000 rows (2,000 texts), from the first 1,000 characters of each text."""
    model = _load_identifier()
    sample = draw_sample(data.rows, _MOST_ROWS)
    found = [tuple(model.classify(text[:_MOST_CHARACTERS])[0] for text in row) for row in sample]
    differing = [row for row, (one, two) in zip(sample, found, strict=True) if one != two and UNKNOWN not in (one, two)]
    return Languages(
        dict(Counter(query for query, _ in found).most_common()),
        dict(Counter(passage for _, passage in found).most_common()),
        len(sample),
        len(differing),
        tuple(differing[:MAX_EXAMPLES]),
    )


def report_languages(found: Languages) -> Iterator[Finding]:
    """Yield a warning if queries and passages differ in language, a note if one column has several languages."""
    main = _main(found.queries), _main(found.passages)
    if (main[0] != main[1] and None not in main) or found.differing >= DIFFER_SHARE * found.rows:
        message = (
            f"queries are mostly in '{main[0]}', passages in '{main[1]}'; "
            f"in {found.differing:,} of {found.rows:,} rows the two differ"
        )
        yield Finding("languages-differ", "warning", message, found.examples)
    frequent = {"queries": _frequent(found.queries), "passages": _frequent(found.passages)}
    parts = [f"{what}: {', '.join(shares)}" for what, shares in frequent.items() if len(shares) > 1]
    if parts:
        yield Finding("language-mix", "note", f"more than one language ({'; '.join(parts)})")


@cache
def _load_identifier() -> Any:
    # 139 languages, 4 MB, only numpy, 20,000 questions/s, loads in .5 s, BSD, maintained (2026); lingua is far larger.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_CONFIDENCE)


def _main(counts: Mapping[str, int]) -> str | None:
    """Return the most frequent language if a tenth of the sample has it: a few short texts are often misclassified."""
    known = {language: count for language, count in counts.items() if language != UNKNOWN}
    largest = max(known, key=known.__getitem__, default=None)
    return largest if largest and known[largest] >= MAIN_SHARE * sum(counts.values()) else None


def _frequent(counts: Mapping[str, int]) -> list[str]:
    """Return each frequent language with its share (`de 80%`)."""
    total = sum(counts.values())
    return [f"{name} {n / total:.0%}" for name, n in counts.items() if name != UNKNOWN and n >= MIX_SHARE * total]
