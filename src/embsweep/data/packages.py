"""Where an installed package's source lies and which version it is, found without importing it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path

from embsweep.data.faults import FaultList
from embsweep.errors import did_you_mean

STDLIB = "stdlib"


@dataclass(frozen=True)
class Package:
    """A package by import name; `roots` are its folders, or its one file."""

    name: str
    version: str
    roots: tuple[Path, ...]


def find_packages(names: tuple[str, ...]) -> list[Package]:
    """The packages in the order given, each once. Raises InputError with every name that is not one."""
    faults = FaultList()
    distributions = _list_distributions()
    found = [_find(name, distributions, faults) for name in dict.fromkeys(names)]
    if not names:
        faults.add("empty", "data.packages", "is empty", accepted="import names such as [stdlib, numpy, torch]")
    faults.raise_if_any()
    return [package for package in found if package is not None]


@cache
def _list_distributions() -> Mapping[str, list[str]]:
    """Import name → distributions, of everything installed: reading that takes a fifth of a second, so once."""
    return importlib.metadata.packages_distributions()


def _find(name: str, distributions: Mapping[str, list[str]], faults: FaultList) -> Package | None:
    if name == STDLIB:
        return Package(STDLIB, platform.python_version(), (Path(sysconfig.get_path("stdlib")),))
    roots = _list_roots(_find_spec(name))
    if not roots:
        known = [STDLIB, *sorted(distributions), *sorted(sys.stdlib_module_names)]
        accepted = "'stdlib', or the import name of an installed top-level package written in Python"
        fix = did_you_mean(name, [option for option in known if option != name])
        faults.add(
            "not-installed", "data.packages", "is not installed as Python source", name, accepted=accepted, fix=fix
        )
        return None
    return Package(name, _read_version(name, roots, distributions), roots)


def _find_spec(name: str) -> ModuleSpec | None:
    """A dotted name is none: to find `a.b`, Python would import `a`."""
    if not name.isidentifier() or name == "__main__":
        return None
    try:
        return importlib.util.find_spec(name)
    except (ValueError, ImportError):  # ValueError: a loaded module without a spec
        return None


def _list_roots(spec: ModuleSpec | None) -> tuple[Path, ...]:
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(Path(location) for location in spec.submodule_search_locations)
    if spec.has_location and spec.origin and spec.origin.endswith(".py"):
        return (Path(spec.origin),)
    return ()


def _read_version(name: str, roots: tuple[Path, ...], distributions: Mapping[str, list[str]]) -> str:
    """Version of the distributions that hold the package, else a hash of its files' sizes and times."""
    if name in sys.stdlib_module_names:
        return platform.python_version()
    owners = sorted(set(distributions.get(name, ())))
    if owners:
        return ",".join(f"{owner}=={importlib.metadata.version(owner)}" for owner in owners)
    digest = hashlib.sha256()
    for root in roots:
        for file in [root] if root.is_file() else sorted(root.rglob("*.py")):
            status = file.lstat()  # an editor's lock file is a link that leads nowhere
            digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
