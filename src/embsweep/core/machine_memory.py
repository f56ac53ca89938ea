"""How much memory this process may still take: of the machine, of its control group, and of its own limit."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_GROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")


def available_bytes() -> int | None:
    """Return the smallest of the limits in bytes, None if none is known."""
    return min(_find_limits(), default=None)


def _find_limits() -> Iterator[int]:
    machine = _read_kib(_MEMINFO, "MemAvailable")
    if machine is not None:
        yield machine
    with suppress(OSError, ValueError):  # no control group, or `max`
        yield int((_GROUP / "memory.max").read_text()) - int((_GROUP / "memory.current").read_text())
    limit, used = resource.getrlimit(resource.RLIMIT_AS)[0], _read_kib(_STATUS, "VmSize")
    if limit != resource.RLIM_INFINITY and used is not None:
        yield limit - used


def _read_kib(path: Path, name: str) -> int | None:
    with suppress(OSError):
        found = re.search(rf"^{name}:\s+(\d+) kB", path.read_text(), re.MULTILINE)
        return 1024 * int(found[1]) if found else None
    return None
