"""Summary line → body of the docstrings of installed packages, read as text: real English, no download.

The modules are parsed, never imported.
"""

from __future__ import annotations

import ast
import inspect
import logging
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

from embsweep.data.collection import Collection, Pair
from embsweep.data.corpus import build_collection
from embsweep.data.docstring_cache import read_cache, write_cache
from embsweep.data.packages import Package, find_packages
from embsweep.errors import Fault, InputError

SUMMARY_CHARS = (20, 200)
SUMMARY_WORDS = 3
BODY_CHARS = 200
_SKIPPED_FOLDERS = frozenset({"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"})
_BLANK_LINE = re.compile(r"\n\s*\n")
_Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_log = logging.getLogger(__name__)


def load_docstrings(names: tuple[str, ...], cache_dir: Path) -> Collection:
    """The docstrings of the packages with these import names (`stdlib` is the standard library).

    Built once for each set of package versions and kept in `cache_dir`; the same installation always gives
    the same pairs in the same order. Raises InputError for each package that is not installed.
    """
    packages = find_packages(names)
    pairs = read_cache(cache_dir, packages)
    if pairs is None:
        pairs = [pair for package in packages for pair in read_package(package)]
        write_cache(cache_dir, packages, pairs)
    if not pairs:
        raise InputError(Fault("no-rows", "data.packages", "these packages hold no usable docstrings", list(names)))
    return build_collection("docstrings", pairs)


def read_package(package: Package) -> Iterator[Pair]:
    """Every usable docstring of a package, in the order of file names and lines."""
    for root, file in _list_modules(package):
        place = f"{package.name}/{file.relative_to(root).as_posix()}"
        for node in _list_definitions(file):
            pair = split_docstring(ast.get_docstring(node) or "", f"{place}:{getattr(node, 'lineno', 1)}")
            if pair is not None:
                yield pair


def split_docstring(docstring: str, place: str = "") -> Pair | None:
    """First paragraph in one line → the rest, dedented; None where either is too short to mean something."""
    paragraph, *rest = _BLANK_LINE.split(inspect.cleandoc(docstring), maxsplit=1)
    summary, body = " ".join(paragraph.split()), inspect.cleandoc("".join(rest)).strip()
    shortest, longest = SUMMARY_CHARS
    usable = shortest <= len(summary) <= longest and len(summary.split()) >= SUMMARY_WORDS
    if not usable or len(body) < BODY_CHARS or " ".join(body.split()) == summary or _is_odd(summary + body):
        return None
    return Pair(summary, body, place=place)


def _is_odd(text: str) -> bool:
    return "\0" in text or (not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text))


def _list_modules(package: Package) -> Iterator[tuple[Path, Path]]:
    """(root, module file) of every module that is no test, sorted."""
    for root in package.roots:
        files = [root] if root.is_file() else sorted(root.rglob("*.py"), key=lambda file: file.relative_to(root).parts)
        base = root.parent if root.is_file() else root
        for file in files:
            inner = file.relative_to(base)
            is_test = inner.name.startswith("test_") or inner.name == "conftest.py"
            if not is_test and not _SKIPPED_FOLDERS.intersection(inner.parts[:-1]):
                yield base, file


def _list_definitions(file: Path) -> list[_Definition]:
    """Module, public classes and public functions of a file, by line; none where it is not Python of this version."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in other people's strings
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, OSError, RecursionError, MemoryError) as error:  # MemoryError: nested too deeply
        _log.debug("%s passed over: %s", file, error)
        return []
    nodes: list[_Definition] = [tree]
    nodes += [node for node in ast.walk(tree) if isinstance(node, _Definition) and _is_public(node)]
    return sorted(nodes, key=lambda node: getattr(node, "lineno", 0))


def _is_public(node: _Definition) -> bool:
    return not isinstance(node, ast.Module) and not node.name.startswith("_")
