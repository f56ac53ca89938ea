"""Check whether other processes are running."""

import time
from pathlib import Path


def is_alive(pid):
    """Return True if a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone_within(pid, seconds):
    """Return True if a process ends within `seconds`: even after SIGKILL that takes some milliseconds."""
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
