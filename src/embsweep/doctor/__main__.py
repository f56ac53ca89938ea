"""`python -m embsweep.doctor [--all]`: the same as `embsweep doctor`, where typer and rich are not installed."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

from embsweep.core.environment import set_default_environment


def main() -> int:
    """Run the checks in the working directory; return the exit code."""
    set_default_environment()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # torch's about an old driver: the output says it
    from embsweep.doctor.run import run_doctor

    is_ok = run_doctor(_say, storage=Path.cwd(), store="not looked up", is_all="--all" in sys.argv[1:])
    return 0 if is_ok else 1


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
