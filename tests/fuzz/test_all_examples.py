"""All examples of the fuzz tests, different ones every night; normal runs draw a tenth of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = sorted(path.name for path in HERE.glob("test_fuzz_*.py"))


@pytest.mark.nightly
@pytest.mark.parametrize("name", FILES)
def test_all_examples(name):
    command = [sys.executable, "-m", "pytest", "-m", "not nightly", "-p", "no:cacheprovider", str(HERE / name)]
    environment = {**os.environ, "EMBSWEEP_FUZZ_EXAMPLES": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=HERE.parents[1])
    assert result.returncode == 0, result.stdout + result.stderr
