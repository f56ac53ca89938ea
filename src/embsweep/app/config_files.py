"""Configuration files that cannot be read: which one, which line, and what is wrong there."""

from __future__ import annotations

import codecs
import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from hydra.core.config_loader import ConfigLoader

from embsweep.errors import Fault, InputError

MOST_VALUES = 10_000
"""What one file may hold: `*alias` of `*alias` makes gigabytes of a few lines, and Hydra takes its time for each."""


def yaml_fault(error: yaml.YAMLError) -> Fault:
    """Where the file in `error` is no YAML, or names a type that is not read (`!!python/…`)."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = " ".join(str(error.problem).split())
        return Fault(
            "bad-format", f"{mark.name}:{mark.line + 1}", f"cannot be read as YAML ({problem})", accepted="plain values"
        )
    name, reason = getattr(error, "name", "a configuration file"), getattr(error, "reason", error)
    return Fault("bad-format", str(name), f"cannot be read as YAML ({reason})", accepted="text in UTF-8")


def first_line(error: BaseException) -> str:
    """What Hydra says before it lists where it has looked; its exception's name where it says nothing."""
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") else lines[0]


def undecodable_faults(loader: ConfigLoader, folders: Sequence[Path] = ()) -> list[Fault]:
    """The files of the loader's folders, and of `folders`, that are no text.

    What is raised while one is composed does not name it; one fault without a name where none is found.
    """
    own = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    found = [fault for folder in (*own, *folders) for path in _find_files(folder) for fault in _check_text(path)]
    return found or [Fault("not-utf8", "a configuration file", "is no text", accepted="UTF-8")]


def check_files(folder: Path) -> None:
    """InputError naming the files in `folder` that hold more than MOST_VALUES values, or begin with a BOM."""
    faults = [fault for path in _find_files(folder) for fault in _check_file(path)]
    if faults:
        raise InputError(faults)


def _check_file(path: Path) -> Iterator[Fault]:
    if _count(path) > MOST_VALUES:
        yield Fault(
            "too-many",
            str(path),
            f"holds more than {MOST_VALUES:,} values, aliases followed",
            accepted="a configuration",
        )
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(3) == codecs.BOM_UTF8:
            problem = "begins with a byte-order mark, which hides its first line from Hydra"
            yield Fault("byte-order-mark", str(path), problem, accepted="UTF-8 without one")


def _find_files(folder: Path) -> list[Path]:
    """Without pipes and devices, which Hydra does not read either."""
    return [path for path in sorted(folder.rglob("*.yaml")) if path.is_file()]


def _check_text(path: Path) -> Iterator[Fault]:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError as error:
        yield Fault("not-utf8", str(path), f"is no text ({error.reason} at byte {error.start})", accepted="UTF-8")


def _count(path: Path) -> float:
    """Values in a file once its aliases are followed; what cannot be read at all is told when it is composed."""
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return 0
    return _count_below(root, {})


def _count_below(node: yaml.Node | None, known: dict[int, float]) -> float:
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known: an alias of what holds it never ends
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count_below(part, known) for part in parts)
    return known[id(node)]
