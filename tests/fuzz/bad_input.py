"""Strategies of the fuzz tests: invalid texts, values and bytes of many kinds, and mutations of valid files."""

from __future__ import annotations

import json
import math

from hypothesis import strategies as st

ODD_TEXTS = (
    "", " ", "\t", "\u3000", "\u200b", "\ufeff", "\0", "a\0b", "\ud800", "x\udfff", "\x1b[2J\x1b[31mred", "\x9b1m",
    "\u202eevil", "e\u0301", "\u00e9", "\ufb01", "\u1e9e", "\u0345\u0301", "a\r\nb", "a\nb", "a\rb", '"', '""', "'",
    ",", ";", "\t|", "\u2028", "\x85", "NaN", "null", "=1+1", "a" * 400, "𝒳", "\U0010ffff", "-", "#", "\\", "${x}",
)  # fmt: skip
odd_texts = st.sampled_from(ODD_TEXTS)
texts = st.one_of(odd_texts, st.text(max_size=12), st.text(st.characters(codec=None), max_size=6))
good_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=20).map(
    lambda t: "x" + t
)
"""Texts that every loader accepts."""

ODD_NUMBERS = (
    0, -1, 1, 2**31, 2**32, 2**53 + 1, 2**64, 10**30, -(10**30), 10**400, 0.0, -0.0, 1e-320, 1e308, -1e308,
    math.nan, math.inf, -math.inf, 0.1, 1.5,
)  # fmt: skip
odd_numbers = st.sampled_from(ODD_NUMBERS)
scalars = st.one_of(st.none(), st.booleans(), odd_numbers, st.integers(), st.floats(), texts)


def nest(depth, inner="x", kind=list):
    """Return `inner` nested in `depth` lists or objects."""
    for _ in range(depth):
        inner = [inner] if kind is list else {"a": inner}
    return inner


trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(texts, st.integers(), st.none()), inner, max_size=4),
    ),
    max_leaves=8,
)
"""Arbitrary nested values."""

broken_lines = st.one_of(
    st.binary(max_size=40),
    st.sampled_from([
        b"[]", b"{}", b"3", b"null", b'"text"', b"NaN", b"1e400", b"[" * 3000, b'{"a":' * 3000, b"[" * 900 + b"]" * 900,
        b"[" * 990 + b"]" * 990, b'{"anchor":' + b"[" * 960 + b"]" * 960 + b',"positive":"x"}',
        b'{"anchor": "a", "anchor": "b", "positive": "c"}', b'{"anchor": "\\ud800", "positive": "c"}',
        b'{"anchor": 1e400, "positive": -Infinity}', b'{"anchor": "a\\u0000", "positive": "c"}',
        b'{"anchor": "a", "positive": "b", "x": ' + b"9" * 5000 + b"}", b'{"\\u001b[2J": 1}', b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b'{"anchor": "a", "positive": "b"} {"anchor": "c", "positive": "d"}', b"{'anchor': 'a'}", b"\x1f\x8b\x08\0\0\0",
    ]),
)  # fmt: skip
"""Lines that are not a valid pair, some of them only nearly."""


def json_lines(objects):
    """Return JSON with and without escapes; half a surrogate pair is always escaped."""
    return st.tuples(objects, st.booleans()).map(_dump)


def _dump(drawn):
    value, escaped = drawn
    for ascii_only in (escaped, True):
        try:
            return json.dumps(value, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue
        except ValueError:  # an integer with more digits than Python converts
            break
    return b'{"anchor": ' + b"9" * 5000 + b"}"


@st.composite
def mutations(draw, good, most=6):
    """Draw the bytes of `good` with a few bytes flipped, inserted, deleted, repeated or cut off."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.sampled_from(["flip", "insert", "delete", "cut", "double", "zero"]))
        if change == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif change == "insert":
            data[at:at] = draw(st.one_of(st.binary(min_size=1, max_size=6), odd_bytes))
        elif change == "delete":
            del data[at : at + draw(st.integers(1, 12))]
        elif change == "cut":
            del data[at:]
        elif change == "double":
            data[at:at] = data[at : at + 40]
        elif change == "zero" and data:
            data[at : at + 4] = b"\0" * min(4, len(data) - at)
    return bytes(data)


odd_bytes = st.sampled_from([
    b"\r", b"\n", b"\r\n", b"\0", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xc3", b"\xed\xa0\x80", b'"', b'""',
    b",", b"\t", b"\x1b[2J", b"\xe2\x80\xa8", b"\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x10", b"NaN", b"-1", b"1.5",
    b"9" * 400, b"  ",
])  # fmt: skip
