"""Benchmark BM25 in languages without spaces or with marks, against the usual analyser of each language.

    python -m venv /tmp/analysers
    /tmp/analysers/bin/pip install bm25s regex jieba fugashi unidic-lite pythainlp PyStemmer
    PYTHONPATH=src /tmp/analysers/bin/python benchmarks/languages.py

Ranks the templated questions and passages of language_sets.json (288 questions on 144 passages each) with one formula,
bm25s' default, over the terms of each analyser. Prints MAP@10 and MAP@100 of three variants: questions that name the
subject in another form than the passage, in the same form, and passages that mention no other subject. An analyser that
is not installed is left out. `lucene` are the rules of Lucene's HindiAnalyzer and ArabicAnalyzer, without stop words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from embsweep.data.text import normalise_text
from embsweep.data.words import list_terms

Analyser = Callable[[str], list[str]]
SETS = Path(__file__).with_name("language_sets.json")

HINDI_FOLDED = str.maketrans(
    dict(zip("ँॅॆॉॊऍऎऑऒॲआईऊॠॡऐऔीूॄॣैौऩऱऴ", "ंेेोोएएओओअअइउऋऌएओिुृॢेोनरळ", strict=True)) | dict.fromkeys("़्\u200c\u200d", "")
)
HINDI_SUFFIXES = (
    "ाएंगी", "ाएंगे", "ाऊंगी", "ाऊंगा", "ाइयाँ", "ाइयों", "ाइयां", "ाएगी", "ाएगा", "ाओगी", "ाओगे", "एंगी",
    "ेंगी", "एंगे", "ेंगे", "ूंगी", "ूंगा", "ातीं", "नाओं", "नाएं", "ताओं", "ताएं", "ियाँ", "ियों", "ियां",
    "ाकर", "ाइए", "ाईं", "ाया", "ेगी", "ेगा", "ोगी", "ोगे", "ाने", "ाना", "ाते", "ाती", "ाता", "तीं", "ाओं",
    "ाएं", "ुओं", "ुएं", "ुआं", "कर", "ाओ", "िए", "ाई", "ाए", "ने", "नी", "ना", "ते", "ीं", "ती", "ता", "ाँ",
    "ां", "ों", "ें", "ो", "े", "ू", "ु", "ी", "ि", "ा",
)  # fmt: skip
ARABIC_FOLDED = str.maketrans("أإآىة", "ااايه", "ـ\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652")


def main() -> None:
    """Print one line for each language and analyser."""
    for language, data in json.loads(SETS.read_text("utf-8")).items():
        variants = list(build_variants(data))
        for name, analyse in (*load_references(language), ("embsweep", list_terms)):
            scores = "   ".join(f"{ten:.3f} {hundred:.3f}" for ten, hundred in (score(analyse, *v) for v in variants))
            print(f"{language}  {name:12} {scores}")  # noqa: T201


def build_variants(data: dict[str, Any]) -> Iterator[tuple[list[str], list[str], list[int]]]:
    """Yield queries, passages and the position of each query's passage, for each of the three variants."""
    subjects = [tuple(subject.split("|")) for subject in data["subjects"]]
    yield build_set(subjects, data["aspects"], data["mention"])
    yield build_set([(stated, stated) for _, stated in subjects], data["aspects"], data["mention"])
    yield build_set(subjects, data["aspects"], "")


def build_set(
    subjects: list[tuple[str, ...]], aspects: list[list[str]], mention: str
) -> tuple[list[str], list[str], list[int]]:
    """Return queries, passages, and the position of each query's passage."""
    queries, passages, answers = [], [], []
    for number, (asked, stated) in enumerate(subjects):
        for aspect, (*questions, statement) in enumerate(aspects):
            other = subjects[(number + 3 * aspect + 5) % len(subjects)][1]
            queries += [question.format(asked) for question in questions]
            answers += [len(passages)] * len(questions)
            passages.append(f"{statement.format(stated)} {mention.format(other)}")
    return queries, passages, answers


def score(analyse: Analyser, queries: list[str], passages: list[str], answers: list[int]) -> tuple[float, float]:
    """Return MAP@10 and MAP@100 of BM25 over the terms of an analyser; equal scores are ordered by position."""
    import bm25s  # type: ignore[import-untyped]

    index = bm25s.BM25(backend="numpy")
    index.index([analyse(passage) or ["\0"] for passage in passages], show_progress=False)
    ranks = []
    for query, answer in zip(queries, answers, strict=True):
        scores = index.get_scores_from_ids(index.get_tokens_ids(analyse(query)))
        ranks.append(1 + int(np.flatnonzero(np.argsort(-scores, kind="stable") == answer)[0]))
    ranked = np.array(ranks)
    ten, hundred = (float(np.mean(np.where(ranked <= depth, 1 / ranked, 0))) for depth in (10, 100))
    return ten, hundred


def load_references(language: str) -> Iterator[tuple[str, Analyser]]:
    """Yield the installed analysers of a language."""
    builders = {
        "zh": {"jieba": build_jieba},
        "ja": {"fugashi": build_fugashi},
        "th": {"pythainlp": build_pythainlp},
        "hi": {"lucene": lambda: lambda text: [stem_hindi(word) for word in find_words(text)], "snowball": build_hindi},
        "ar": {
            "lucene": lambda: lambda text: [stem_arabic(word) for word in find_words(text)],
            "snowball": build_arabic,
        },
    }
    for name, build in builders.get(language, {}).items():
        try:
            yield name, build()
        except ImportError as error:
            print(f"{language}  {name}: left out, {error}")  # noqa: T201


def find_words(text: str) -> list[str]:
    """Return runs of letters, marks and digits of the normalised text."""
    return [word for word in re.split(r"[\s!-/:-@\[-`{-~।؟،؛。、]+", normalise_text(text)) if word]


def build_jieba() -> Analyser:
    """Build jieba's mode for search engines, which returns long words and their parts."""
    jieba = import_module("jieba")
    jieba.setLogLevel(60)
    return lambda text: [word for word in jieba.lcut_for_search(normalise_text(text)) if word.isalnum()]


def build_fugashi() -> Analyser:
    """Build MeCab with UniDic: base forms, without particles, auxiliaries and symbols, as Lucene's Kuromoji."""
    tagger = import_module("fugashi").Tagger()
    left_out = ("助詞", "助動詞", "補助記号", "空白", "記号")
    return lambda text: [
        word.feature.orthBase or word.surface
        for word in tagger(normalise_text(text))
        if word.feature.pos1 not in left_out
    ]


def build_pythainlp() -> Analyser:
    """Build the dictionary segmenter newmm."""
    cut = import_module("pythainlp.tokenize").word_tokenize
    return lambda text: [word for word in cut(normalise_text(text), keep_whitespace=False) if word.strip(" .,()")]


def build_hindi() -> Analyser:
    """Build Snowball's Hindi stemmer."""
    stemmer = import_module("Stemmer").Stemmer("hindi")
    return lambda text: list(stemmer.stemWords(find_words(text)))


def build_arabic() -> Analyser:
    """Build Snowball's Arabic stemmer."""
    stemmer = import_module("Stemmer").Stemmer("arabic")
    return lambda text: list(stemmer.stemWords(find_words(text)))


def stem_hindi(word: str) -> str:
    """Fold and stem as Lucene's HindiNormalizer and HindiStemmer do (Ramanathan and Rao, 2003)."""
    folded = word.replace("न्", "ं").translate(HINDI_FOLDED)
    suffixes = (suffix for suffix in HINDI_SUFFIXES if folded.endswith(suffix) and len(folded) > len(suffix) + 1)
    return folded.removesuffix(next(suffixes, ""))


def stem_arabic(word: str) -> str:
    """Fold and stem as Lucene's ArabicNormalizer and ArabicStemmer do (light10 of Larkey et al., 2002)."""
    stem = word.translate(ARABIC_FOLDED)
    prefixes = ("ال", "وال", "بال", "كال", "فال", "لل", "و")
    stem = stem.removeprefix(next((p for p in prefixes if stem.startswith(p) and len(stem) >= max(4, len(p) + 2)), ""))
    for suffix in ("ها", "ان", "ات", "ون", "ين", "يه", "ية", "ه", "ة", "ي"):
        if len(stem) >= len(suffix) + 2:
            stem = stem.removesuffix(suffix)
    return stem


if __name__ == "__main__":
    main()
