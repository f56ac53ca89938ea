"""Processes seen from outside."""

import time
from pathlib import Path


def is_alive(pid):
    """Whether a process runs: not gone, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii", errors="replace").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def is_gone_within(pid, seconds):
    """Whether it ends in time: who was sent SIGKILL takes a moment."""
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
