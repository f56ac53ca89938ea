"""Excerpts of texts: one line, no control characters, no visible character divided."""

import pytest

from embsweep.data.excerpts import cut_text


@pytest.mark.parametrize(
    ("text", "excerpt"),
    [
        ("short", "short"),
        ("two\n\t lines\r\n", "two lines"),
        ("0123456789", "0123456789"),
        ("0123456789x", "0123456789…"),
        ("012345678e\u0301x", "012345678…"),  # e and its accent
        ("01234567👩\u200d💻x", "01234567…"),  # woman, joiner, computer
        ("012345678🇩🇪x", "012345678…"),
        ("012345678👍🏽", "012345678…"),
        ("e" + "\u0301" * 40, "e" + "\u0301" * 9 + "…"),  # no boundary: divided
        ("a\x00b\x1bc\x85d\ud800e", "abc de"),
        ("<b>&amp;\u202e", "<b>&amp;\u202e"),
        ("x" * 10_000, "x" * 10 + "…"),
        (" " * 10_000 + "x", "…"),
    ],
)
def test_a_text_is_cut(text, excerpt):
    assert cut_text(text, 10) == excerpt
