"""Compare texts by their numbers, not by their wording."""

from __future__ import annotations

import re


def numbers_in(text: str) -> list[float]:
    """Return the numbers in a text in order: `3 of 1,200 (.5%)` → [3, 1200, 0.5]."""
    return [float(found.replace(",", "")) for found in re.findall(r"-?(?:\d(?:[\d,]*\d)?(?:\.\d+)?|\.\d+)", text)]
