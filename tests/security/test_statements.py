"""Every test that SECURITY.md names exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"(?P<file>tests/[\w/]+\.py)?(?:::(?P<test>test_\w+))?")


def find_named():
    """Yield (file, test or None); a name without a file is in the file named last."""
    text = (ROOT / "SECURITY.md").read_text("utf-8").replace("`tests/security/test_statements.py`", "")
    file = None
    for found in NAMED.finditer(text):
        file = found["file"] or file
        if found[0]:
            yield file, found["test"]


@pytest.mark.parametrize(("file", "test"), list(find_named()))
def test_a_named_test_exists(file, test):
    assert test is None or re.search(rf"^ *def {test}\(", (ROOT / file).read_text("utf-8"), re.MULTILINE)
    assert (ROOT / file).is_file()
