"""Source `docstrings`: docstrings of installed packages, summary line as query and body as passage.

They are real English text that needs no download. Source and version of a package are found without importing it, and
its modules are parsed, never imported. The extracted pairs are cached on disk, written atomically.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import logging
import platform
import re
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.core.files import atomic_write
from embsweep.data.collection import Collection, Pair, build_collection
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.slices import to_label
from embsweep.data.text import find_bad_character

STDLIB = "stdlib"


@dataclass(frozen=True)
class Package:
    """Installed package by import name. `roots` are its folders, or its single file."""

    name: str
    version: str
    roots: tuple[Path, ...]


def find_packages(names: tuple[str, ...]) -> list[Package]:
    """Find the installed packages of these import names, in the given order, each once.

    Raises:
        InputError: If `names` is empty or a name is not an installed package; with a diagnostic for each name.
    """
    diagnostics = DiagnosticList()
    found = [_find(name, diagnostics) for name in dict.fromkeys(names)]
    if not names:
        diagnostics.add("empty", "data.packages", "is empty", expected="import names such as [stdlib, numpy, torch]")
    diagnostics.raise_if_any()
    return [package for package in found if package is not None]


@cache
def _list_distributions() -> Mapping[str, list[str]]:
    """Return import name → distributions of all installed packages; cached, because reading it takes 0.2 s."""
    return importlib.metadata.packages_distributions()


def _find(name: str, diagnostics: DiagnosticList) -> Package | None:
    if name == STDLIB:
        return Package(STDLIB, platform.python_version(), (Path(sysconfig.get_path("stdlib")),))
    roots = _find_roots(name)
    if not roots:
        known = [STDLIB, *sorted(_list_distributions()), *sorted(sys.stdlib_module_names)]
        expected = "'stdlib', or the import name of an installed top-level package written in Python"
        hint = did_you_mean(name, [option for option in known if option != name])
        diagnostics.add(
            "not-installed", "data.packages", "is not installed as Python source", name, expected=expected, hint=hint
        )
        return None
    return Package(name, _read_version(name, roots), roots)


def _find_roots(name: str) -> tuple[Path, ...]:
    """Find the source of a top-level package; none for a dotted name: to find `a.b`, Python would import `a`."""
    try:
        spec = importlib.util.find_spec(name) if name.isidentifier() and name != "__main__" else None
    except (ValueError, ImportError):  # ValueError: a loaded module without a spec
        return ()
    if spec is None:
        return ()
    if spec.submodule_search_locations is not None:
        return tuple(map(Path, spec.submodule_search_locations))
    return (Path(spec.origin),) if spec.has_location and spec.origin and spec.origin.endswith(".py") else ()


def _read_version(name: str, roots: tuple[Path, ...]) -> str:
    """Return the version of the package's distributions, or if there is none, a hash of its files' sizes and times."""
    if name in sys.stdlib_module_names:
        return platform.python_version()
    if owners := sorted(set(_list_distributions().get(name, ()))):
        return ",".join(f"{owner}=={importlib.metadata.version(owner)}" for owner in owners)
    files = (file for root in roots for file in _list_files(root))
    states = [(str(file), file.lstat()) for file in files]  # lstat: an editor's lock file is a broken symbolic link
    facts = [(name, state.st_size, state.st_mtime_ns) for name, state in states]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _list_files(root: Path) -> list[Path]:
    return [root] if root.is_file() else sorted(root.rglob("*.py"))


FORMAT = 2
"""Version of the cache; increment it when the extraction of pairs or the format of the cache file changes."""

_log = logging.getLogger(__name__)


def find_cache(cache_dir: Path, packages: Sequence[Package]) -> Path:
    """Return the path of the cache of these packages; each set of versions, interpreter and format has its own."""
    key = [FORMAT, platform.python_version(), [[package.name, package.version] for package in packages]]
    fingerprint = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    return cache_dir / f"docstrings-{fingerprint}.json"


def read_cache(cache_dir: Path, packages: Sequence[Package]) -> list[Pair] | None:
    """Read the cached pairs; return None if there is no cache, or, after a warning, if it cannot be read."""
    path = find_cache(cache_dir, packages)
    try:
        rows = json.loads(path.read_bytes())
        return [Pair(summary, text, place=place) for summary, text, place in rows]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        _log.warning("the cache %s cannot be read (%s): rebuilding it", path, error)
        return None


def write_cache(cache_dir: Path, packages: Sequence[Package], pairs: Sequence[Pair]) -> None:
    """Write the pairs to the cache atomically; if the disk refuses, only log a warning.

    Args:
        cache_dir: Folder of the caches.
        packages: Packages that the pairs come from; they determine the file name.
        pairs: Pairs to write.
    """
    path = find_cache(cache_dir, packages)
    try:
        atomic_write(path, json.dumps([(pair.anchor, pair.positive, pair.place) for pair in pairs]).encode("ascii"))
    except OSError as error:
        _log.warning("the cache %s cannot be written (%s): the next run will parse the packages again", path, error)


SUMMARY_CHARS = (20, 200)
SUMMARY_WORDS = 3
BODY_CHARS = 200
_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
_BLANK_LINE = re.compile(r"\n\s*\n")
_Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def load_docstrings(names: tuple[str, ...], cache_dir: Path, *, by_package: bool = False) -> Collection:
    """Load the docstrings of the packages with these import names (`stdlib` is the standard library).

    The pairs are extracted once per set of package versions and cached in `cache_dir`. The same installation always
    gives the same pairs in the same order. The slice of a pair is its package, if `by_package` is True.

    Raises:
        InputError: If a package is not installed (a diagnostic for each), or no docstring is usable.
    """
    packages = find_packages(names)
    if (pairs := read_cache(cache_dir, packages)) is None:
        pairs = [pair for package in packages for pair in read_package(package)]
        write_cache(cache_dir, packages, pairs)
    if not pairs:
        raise InputError(
            Diagnostic("no-rows", "data.packages", "these packages hold no usable docstrings", list(names))
        )
    if by_package:
        pairs = [replace(pair, slice=to_label(pair.place.partition("/")[0])) for pair in pairs]
    return build_collection("docstrings", pairs)


def read_package(package: Package) -> Iterator[Pair]:
    """Yield every usable docstring of a package, ordered by file name and line."""
    for name, file in _list_modules(package):
        for node in _list_definitions(file):
            place = f"{package.name}/{name}:{getattr(node, 'lineno', 1)}"
            pair = split_docstring(ast.get_docstring(node) or "", place)
            if pair is not None:
                yield pair


def split_docstring(docstring: str, place: str = "") -> Pair | None:
    """Split a docstring into a pair: its first paragraph, in one line, and the rest, dedented.

    Returns None if the summary has not 20 to 200 characters and at least 3 words, the body has fewer than 200
    characters or repeats the summary, or either has a character that no text of the data may have.
    """
    paragraph, *rest = _BLANK_LINE.split(inspect.cleandoc(docstring), maxsplit=1)
    summary, body = " ".join(paragraph.split()), inspect.cleandoc("".join(rest)).strip()
    usable = SUMMARY_CHARS[0] <= len(summary) <= SUMMARY_CHARS[1] and len(summary.split()) >= SUMMARY_WORDS
    if not usable or len(body) < BODY_CHARS or " ".join(body.split()) == summary or find_bad_character(summary + body):
        return None
    return Pair(summary, body, place=place)


def _list_modules(package: Package) -> Iterator[tuple[str, Path]]:
    """Yield (path in the package, file) of every module that is not a test, sorted."""
    for root in package.roots:
        for file in _list_files(root):
            inner = file.relative_to(root.parent if file == root else root)
            if not inner.name.startswith(("test_", "conftest.py")) and not _SKIPPED_FOLDERS.intersection(
                inner.parts[:-1]
            ):
                yield inner.as_posix(), file


def _list_definitions(file: Path) -> list[_Definition]:
    """Parse a file into its module, public classes and public functions, by line; empty if it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in third-party strings
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:  # MemoryError: nested too deeply
        _log.debug("%s skipped: %s", file, error)
        return []
    nodes: list[ast.AST] = [tree]
    for node in nodes:  # grows: `ast.walk` would also visit every expression, which holds no definition
        nodes.extend(
            child
            for block in ("body", "handlers", "orelse", "finalbody", "cases")
            for child in getattr(node, block, ())
        )
    public = (
        node
        for node in nodes
        if isinstance(node, _Definition) and (isinstance(node, ast.Module) or not node.name.startswith("_"))
    )
    return sorted(public, key=lambda node: getattr(node, "lineno", 0))
