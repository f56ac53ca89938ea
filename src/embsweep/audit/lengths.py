"""Lengths of the texts, and the part of them that exceeds the model's limit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embsweep.audit.findings import MAX_EXAMPLES, Example, Finding, Severity
from embsweep.audit.split_view import SplitView, draw_sample
from embsweep.config.model import ModelConfig
from embsweep.data.words import split_words
from embsweep.models.token_counter import TokenCounter, find_token_counter
from embsweep.models.usage import find_prompts

CUT_IS_WARNING = 0.1
"""Share of tokens beyond the limit from which truncation is a warning."""

_MOST_TOKENISED = 2000


@dataclass(frozen=True)
class Lengths:
    """Words per text: median, 95th percentile, maximum, and a histogram by powers of two (`8–15` → number of texts)."""

    texts: int
    median: int
    p95: int
    longest: int
    histogram: Mapping[str, int]


@dataclass(frozen=True)
class Truncation:
    """Truncation of a sample of texts at the model's limit.

    Lengths are in tokens of the model, special tokens included; `cut_texts` and `cut_tokens` are shares in [0, 1].
    """

    limit: int
    texts: int
    median: int
    longest: int
    cut_texts: float
    cut_tokens: float
    examples: tuple[Example, ...] = ()


def measure_lengths(texts: Sequence[str]) -> Lengths:
    """Measure lengths in words; this needs no tokenizer."""
    words = np.array([len(split_words(text)) for text in texts])
    exponents = Counter(int(count).bit_length() for count in words)
    histogram = {_label(exponent): exponents[exponent] for exponent in range(min(exponents), max(exponents) + 1)}
    median, p95 = np.percentile(words, [50, 95])
    return Lengths(len(texts), int(median), int(p95), int(words.max()), histogram)


def measure_cuts(data: SplitView, model: ModelConfig) -> dict[str, Truncation]:
    """Measure the truncation of at most 2,000 `queries` and `passages` each; empty if no tokenizer is available.

    Every text counts with its prompt.
    """
    counter = find_token_counter(model)
    if counter is None:
        return {}
    prompts = find_prompts(model)
    return {
        what: measure_cut(draw_sample(texts, _MOST_TOKENISED), counter, prompt)
        for what, texts, prompt in (
            ("queries", data.queries, prompts.query),
            ("passages", data.corpus, prompts.document),
        )
    }


def measure_cut(texts: Sequence[str], counter: TokenCounter, prompt: str = "") -> Truncation:
    """Measure the share of texts longer than the limit with their prompt, and the share of tokens beyond it."""
    tokens = np.array([counter.count(prompt + text) for text in texts])
    beyond = np.maximum(tokens - counter.limit, 0)
    cut = np.flatnonzero(beyond)
    return Truncation(
        limit=counter.limit,
        texts=len(texts),
        median=int(np.median(tokens)),
        longest=int(tokens.max()),
        cut_texts=len(cut) / len(texts),
        cut_tokens=float(beyond.sum() / max(1, tokens.sum())),
        examples=tuple((texts[position],) for position in cut[:MAX_EXAMPLES]),
    )


def report_cuts(cuts: Mapping[str, Truncation], model: ModelConfig) -> Iterator[Finding]:
    """Yield a warning if a tenth of the tokens is cut, a note if any is, and a note if there is no tokenizer."""
    if not cuts:
        message = (
            f"how much of the texts is cut at model.max_seq_length={model.max_seq_length} is unknown: "
            f"the tokenizer of model '{model.name}' is not on this machine"
        )
        yield Finding("tokens-unknown", "note", message)
    cut = {what: found for what, found in cuts.items() if found.cut_tokens}
    if cut:
        parts = [
            f"{found.cut_texts:.0%} of the {what} are longer and lose {found.cut_tokens:.1%} of all tokens"
            for what, found in cut.items()
        ]
        limit = next(iter(cut.values())).limit
        worst = max(found.cut_tokens for found in cut.values())
        severity: Severity = "warning" if worst >= CUT_IS_WARNING else "note"
        examples = tuple(example for found in cut.values() for example in found.examples)[:MAX_EXAMPLES]
        yield Finding("cut-texts", severity, f"the model sees {limit} tokens: {'; '.join(parts)}", examples)


def _label(exponent: int) -> str:
    low, high = 2**exponent // 2, 2**exponent - 1
    return str(low) if low >= high else f"{low}–{high}"
