"""Collect facts about one node. Ray sends this file's functions by value, to nodes that may lack embsweep.

So they import nothing but the standard library and, if the node has it (all have), Ray's own NVML binding.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import ssl
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, TypedDict

PACKAGES = ("embsweep", "ray", "torch", "sentence-transformers", "transformers")
TRACKING_TIMEOUT_S = 5.0
NONCE_FILE = "driver"


class StorageProbe(TypedDict):
    """The shared folder as seen from a node: `nonce` is the text that it read, None if it could read none."""

    exists: bool
    nonce: str | None
    error: str | None


class NodeInfo(TypedDict):
    """One node's answer. `source` digests the installed package's Python files, None if it is not installed.

    `gpus` are name and memory (bytes) of every NVIDIA GPU of the machine; `folder` and `tracking_error` are None if
    they were not requested.
    """

    python: str
    packages: dict[str, str | None]
    source: str | None
    gpus: list[tuple[str, int]]
    folder: StorageProbe | None
    tracking_error: str | None


def probe(folder: str | None, reply: str, health_url: str | None) -> NodeInfo:
    """Collect the facts of this node. Reads NONCE_FILE in `folder` and writes it again as `reply`; raises nothing."""
    return NodeInfo(
        python=platform.python_version(),
        packages={name: find_package_version(name) for name in PACKAGES},
        source=digest_sources("embsweep"),
        gpus=list_gpus(),
        folder=probe_storage(folder, reply) if folder else None,
        tracking_error=probe_tracking_server(health_url) if health_url else None,
    )


def read_clock() -> float:
    """Return the seconds since the epoch by this node's clock."""
    return time.time()


def find_package_version(package: str) -> str | None:
    """Return the installed version without importing the package, None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def digest_sources(package: str) -> str | None:
    """Return the sha256 digest of names and contents of a package's Python files as an import here would find them."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:  # no origin: a bare folder of that name
        return None
    root = Path(spec.origin).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(root).as_posix()}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def list_gpus() -> list[tuple[str, int]]:
    """Return name and memory (bytes) of each NVIDIA GPU, by NVML: Ray hides them from CUDA in a task without GPUs."""
    try:
        from ray._private.thirdparty import pynvml

        nvml: Any = pynvml
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        names = [nvml.nvmlDeviceGetName(handle) for handle in handles]
        sizes = [int(nvml.nvmlDeviceGetMemoryInfo(handle).total) for handle in handles]
    except Exception:  # no driver, no library, no permission: all mean that nothing can be trained on one
        return []
    return [(n.decode() if isinstance(n, bytes) else n, size) for n, size in zip(names, sizes, strict=True)]


def probe_storage(folder: str, reply: str) -> StorageProbe:
    """Read the driver's nonce and write it under this node's own name.

    Both files have names that were never opened here before, so that no network file system has them cached.
    """
    shared = Path(folder)
    try:
        nonce = (shared / NONCE_FILE).read_text()
    except OSError as error:
        return StorageProbe(exists=shared.parent.is_dir(), nonce=None, error=error.strerror)
    try:
        (shared / reply).write_text(nonce)
    except OSError as error:
        return StorageProbe(exists=True, nonce=nonce, error=error.strerror)
    return StorageProbe(exists=True, nonce=nonce, error=None)


def probe_tracking_server(health_url: str) -> str | None:
    """Return None if a server answers, else the error. A refusal (401, 404) is an answer, a gateway's 502 is none."""
    context = ssl.create_default_context()
    context.check_hostname = False  # only reachability is checked, not identity: nothing is sent
    context.verify_mode = ssl.CERT_NONE
    try:
        urllib.request.urlopen(health_url, timeout=TRACKING_TIMEOUT_S, context=context).close()  # noqa: S310
    except urllib.error.HTTPError as error:
        return None if error.code < 500 else f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__
    return None
