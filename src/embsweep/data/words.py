"""Words of texts in every script: for word counts, for near-duplicates, and as terms of BM25 (docs/audit.md)."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import regex  # type: ignore[import-untyped]

from embsweep.data.text import normalise_text

_BY_CHARACTER = r"\p{Han}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_INFLECTED = (
    r"\p{Arabic}\p{Hebrew}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}"
    r"\p{Malayalam}\p{Sinhala}"
)
_SEGMENT = regex.compile(
    rf"""
    (?P<kana>\p{{Hiragana}}[\p{{Hiragana}}ー\p{{M}}]*)
    |(?P<characters>(?:[\p{{Han}}--\p{{M}}]\p{{M}}*)+|(?:[\p{{Katakana}}ー]\p{{M}}*)+|(?:[{_BY_CHARACTER}&&\w--\p{{M}}]\p{{M}}*)+)
    |(?P<syllables>[\p{{Tibetan}}&&\w--\p{{M}}][\p{{Tibetan}}&&\w]*(?:[་༌]+[\p{{Tibetan}}&&\w]+)*)
    |(?P<hangul>[\p{{Hangul}}--\p{{M}}]+)
    |(?P<inflected>(?:[{_INFLECTED}&&\w--\p{{M}}]\p{{M}}*)+)
    |(?P<word>(?:[\w--[\p{{M}}\p{{Hiragana}}\p{{Tibetan}}\p{{Hangul}}{_BY_CHARACTER}{_INFLECTED}]]\p{{M}}*)+)
    """,
    regex.VERBOSE | regex.V1,
)
"""Runs of one kind of script. Every character of `\\w` starts or continues one, except marks without a letter."""

_CHARACTERS = {
    "kana": regex.compile(r"\X(?:(?=\p{M})\X)*"),
    "characters": regex.compile(r"\X(?:(?=\p{M})\X)*"),
    "syllables": regex.compile(r"[\p{Tibetan}&&\w--\p{M}][\p{Tibetan}&&\w]*", regex.V1),
}
"""Groups of scripts without spaces between words → their unit: a character with all marks, or a syllable."""

_HAS_OTHER_KIND = regex.compile(rf"[\p{{Hiragana}}\p{{Tibetan}}\p{{Hangul}}{_BY_CHARACTER}{_INFLECTED}]", regex.V1)
_PLAIN_WORD = regex.compile(r"(?:[\w--\p{M}]\p{M}*)+", regex.V1)

_INVISIBLE = regex.compile(r"[\p{Default_Ignorable_Code_Point}\p{Me}]+", regex.V1)
_NUMBER_AND_NUMBER = regex.compile(r"(?<=\p{N})(?=\p{No})")
_NUMBER_AND_UNIT = regex.compile(r"(?<=\p{N})(?=\p{So})")
"""Where normalisation would glue digits together: 5½ becomes 51⁄2, 10² 102 and 50㎡ 50m2."""

_OTHER_DIGIT = regex.compile(r"[\p{Nd}--[0-9]]", regex.V1)
_ARABIC_NON_JOINER = regex.compile(r"(?<=\p{Arabic})\u200c(?=\p{Arabic})", regex.V1)
_SPELLINGS = regex.compile(
    r"""
    (?P<geminate>(?<=l)[·•‧∙⋅・](?=l)|(?<=[aeiou]l)\.(?=l[aeiouàèéíòóú]))
    |(?P<tone>[ํໍ][่-๋່-໋])
    |(?P<vowel>เเ|ເເ)
    |(?P<nasal>ङ्(?=[क-घ])|ञ्(?=[च-झ])|ण्(?=[ट-ढ])|न्(?=[त-ध])|म्(?=[प-भ]))
    """,
    regex.VERBOSE | regex.V1,
)
"""Spellings that readers take for the same.

`geminate` is Catalan's l·l with the dots that stand for it; `tone` Thai and Lao tone marks typed after the vowel sign
am's circle; `vowel` the vowel ae typed as two e; `nasal` a Devanagari nasal that may be written as anusvara.
"""

_LETTERS = {
    **dict.fromkeys("آأإٱ", "ا"),  # alef, yeh, teh marbuta, kaf and heh as Lucene's Arabic and Persian normalisers
    **dict.fromkeys("ىی", "ي"),
    "ة": "ه",
    "ہ": "ه",
    "ک": "ك",
    "ـ": "",
    "ँ": "ं",
    "़": "",
    **dict(zip("ऩऱऴ", "नरळ", strict=True)),
    **dict(zip("ൺൻർൽൾൿ", ("ണ്", "ന്", "ര്", "ല്", "ള്", "ക്"), strict=True)),
    "ৎ": "ত্",
    "ı": "i",  # Turkish: case folding of I gives i
    "\u0307": "",  # the dot that case folding of İ leaves on its i
    "ё": "е",
    "⁄": "_",  # the fraction slash of ½: the fraction stays one word
    **dict.fromkeys("ʻʼ", "'"),  # letters by their category, written as often with an apostrophe, which ends a word
}


def split_words(text: str) -> list[str]:
    """Split a text into its words, folded by `fold_spelling`, in order.

    A word is a run of letters with their marks, digits and underscores. In scripts without spaces between words each
    character with its marks counts as one: Chinese characters, kana, Thai, Lao, Khmer and Burmese letters; in Tibetan
    each syllable.
    """
    return [word for kind, run in _find_segments(text) for word in _split_run(kind, run)]


def list_words_and_pairs(text: str) -> list[str]:
    """Return the words of `split_words` and, in scripts without spaces, also the pairs of adjacent ones.

    Single hiragana are left out: they are particles and endings, which any two texts share. Where characters and short
    particles recur, in all scripts but Latin and its kin, a second occurrence is another word (`के`, `के#2`).
    """
    seen: Counter[str] = Counter()
    found = []
    for kind, run in _find_segments(text):
        for word in _add_pairs(kind, run):
            seen[word] += kind != "word"
            found.append(word if seen[word] < 2 else f"{word}#{seen[word]}")
    return found


def list_terms(text: str) -> list[str]:
    """Return the terms by which BM25 finds a text, in order.

    Words of Latin, Greek, Cyrillic and other letters are terms as they are. Scripts without spaces have single
    characters and pairs of them (hiragana pairs only), Korean single syllables and pairs of them. A word in an Arabic,
    Hebrew or Indic script is followed by its parts of two and three code points that start with a letter; it counts
    twice, so that it outweighs its parts, unless it has one letter only, as particles have.
    docs/decisions/0038-words.md compares this with the usual analyser of each language.
    """
    return [term for kind, run in _find_segments(text) for term in _list_terms(kind, run)]


def _list_terms(kind: str, run: str) -> list[str]:
    if kind == "hangul":
        return [*run, *_pair(run)]
    if kind == "inflected":
        starts = [start for start, letter in enumerate(run) if unicodedata.category(letter)[0] != "M"]
        spans = [(start, start + size) for size in (2, 3) if size < len(run) for start in starts]
        parts = [run[start:end] for start, end in spans if end <= len(run)]
        return [run] if len(starts) == 1 else [run, run, *(f"{part}*" for part in parts)]
    return _add_pairs(kind, run)


def _add_pairs(kind: str, run: str) -> list[str]:
    words = _split_run(kind, run)
    pairs = _pair(words) if kind in _CHARACTERS else []
    return pairs if kind == "kana" else words + pairs


def _pair(units: Sequence[str]) -> list[str]:
    return [one + two for one, two in pairwise(units)]


def _split_run(kind: str, run: str) -> list[str]:
    units: list[str] = _CHARACTERS[kind].findall(run) if kind in _CHARACTERS else [run]
    return units


def _find_segments(text: str) -> Iterator[tuple[str, str]]:
    """Yield the runs of the folded text, each with the group of `_SEGMENT` that it belongs to."""
    folded = fold_spelling(text)
    if folded.isascii() or not _HAS_OTHER_KIND.search(folded):
        yield from (("word", word) for word in _PLAIN_WORD.findall(folded))
        return
    for match in _SEGMENT.finditer(folded):
        yield str(match.lastgroup), match.group()


def fold_spelling(text: str) -> str:
    """Normalise a text and replace spellings that readers take for the same by one of them.

    Beyond `normalise_text`: invisible characters, Arabic and Hebrew vowel points, tatweel and Greek accents are
    removed; digits of all scripts become ASCII ones; variants of Arabic, Persian, Devanagari and Malayalam letters,
    Thai and Lao vowels, Turkish i and Catalan l·l are unified.
    """
    if text.isascii():
        normal = normalise_text(text)
    else:
        normal = normalise_text(_NUMBER_AND_UNIT.sub(" ", _NUMBER_AND_NUMBER.sub("_", text)))
        normal = _INVISIBLE.sub("", _ARABIC_NON_JOINER.sub(" ", normal)).translate(_fold_table())
        normal = _OTHER_DIGIT.sub(_to_ascii_digit, normal)
    return str(_SPELLINGS.sub(_respell, normal))


def _respell(match: Any) -> str:
    found = str(match.group())
    respelled = {"geminate": "", "tone": found[::-1], "vowel": "แ" if found[0] == "เ" else "ແ", "nasal": "ं"}
    return respelled[str(match.lastgroup)]


def _to_ascii_digit(match: Any) -> str:
    return str(unicodedata.decimal(match.group()))


@cache
def _fold_table() -> dict[int, str]:
    """Map code points to what replaces them: `_LETTERS`, vowel points to nothing, Greek letters to bare ones."""
    points = {code: "" for code in range(0x591, 0x6EE) if unicodedata.category(chr(code)) == "Mn"}
    greek = {
        code: unicodedata.normalize("NFD", chr(code))[0] for code in (*range(0x370, 0x400), *range(0x1F00, 0x2000))
    }
    return points | greek | {ord(letter): folded for letter, folded in _LETTERS.items()}
