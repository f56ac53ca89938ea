"""Hydra's own node of a configuration: what a file may set of it. All else is config.yaml's, or the command line's.

Configuration files that cannot be read: which one, which line, and what is wrong there.
"""

from __future__ import annotations

import codecs
import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embsweep.cli.composition.trees import load_tree
from embsweep.core.errors import Diagnostic, InputError

MOST_VALUES = 10_000
"""What one file may hold: `*alias` of `*alias` makes gigabytes of a few lines, and Hydra takes its time for each."""


def yaml_diagnostic(error: yaml.YAMLError) -> Diagnostic:
    """Where the file in `error` is no YAML, or names a type that is not read (`!!python/…`)."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = " ".join(str(error.problem).split())
        return Diagnostic(
            "bad-format", f"{mark.name}:{mark.line + 1}", f"cannot be read as YAML ({problem})", expected="plain values"
        )
    name, reason = getattr(error, "name", "a configuration file"), getattr(error, "reason", error)
    return Diagnostic("bad-format", str(name), f"cannot be read as YAML ({reason})", expected="text in UTF-8")


def first_line(error: BaseException) -> str:
    """What Hydra says before it lists where it has looked; its exception's name where it says nothing."""
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") else lines[0]


def undecodable_diagnostics(loader: ConfigLoader, folders: Sequence[Path] = ()) -> list[Diagnostic]:
    """The files of the loader's folders, and of `folders`, that are no text.

    What is raised while one is composed does not name it; one fault without a name where none is found.
    """
    own = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    found = [
        diagnostic for folder in (*own, *folders) for path in _find_files(folder) for diagnostic in _check_text(path)
    ]
    return found or [Diagnostic("not-utf8", "a configuration file", "is no text", expected="UTF-8")]


def check_files(folder: Path) -> None:
    """InputError naming the files in `folder` that hold more than MOST_VALUES values, or begin with a BOM."""
    diagnostics = [diagnostic for path in _find_files(folder) for diagnostic in _check_file(path)]
    if diagnostics:
        raise InputError(diagnostics)


def _check_file(path: Path) -> Iterator[Diagnostic]:
    if _count(path) > MOST_VALUES:
        yield Diagnostic(
            "too-many",
            str(path),
            f"holds more than {MOST_VALUES:,} values, aliases followed",
            expected="a configuration",
        )
    with contextlib.suppress(OSError), path.open("rb") as file:
        if file.read(3) == codecs.BOM_UTF8:
            problem = "begins with a byte-order mark, which hides its first line from Hydra"
            yield Diagnostic("byte-order-mark", str(path), problem, expected="UTF-8 without one")


def _find_files(folder: Path) -> list[Path]:
    """Without pipes and devices, which Hydra does not read either."""
    return [path for path in sorted(folder.rglob("*.yaml")) if path.is_file()]


def _check_text(path: Path) -> Iterator[Diagnostic]:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError as error:
        yield Diagnostic("not-utf8", str(path), f"is no text ({error.reason} at byte {error.start})", expected="UTF-8")


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


SPACE = "hydra.sweeper.params"

CALL_KEYS = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_"})
"""With these, `hydra.utils.instantiate` calls what a configuration names; nothing here is built that way."""

_ALLOWED = ("hydra.mode", "hydra.verbose", SPACE)
_ACCEPTED = f"{', '.join(_ALLOWED)}; what else is Hydra's belongs on the command line"
_HYDRA_INTERNAL = (
    "hydra.runtime",
    "hydra.overrides",
    "hydra.searchpath",
    "hydra.job.name",
    "hydra.job.override_dirname",
)
"""What Hydra itself writes while it composes, or takes from nowhere but config.yaml and the command line."""


def check_hydra_node(loader: ConfigLoader, tree: DictConfig, overrides: Sequence[str]) -> None:
    """InputError where a preset changes how Hydra runs: callbacks, logging, environment, folders.

    Compared before interpolations are followed, with what config.yaml and the command line alone compose to:
    Hydra builds objects from this node, and `${oc.create:…}` may hide from any search what it would call.
    """
    own = _plain_node(load_tree(loader, [line for line in overrides if _is_hydra_override(line)]))
    node = _plain_node(tree)
    found = _find_changes(node, own, "hydra")
    diagnostics = [
        Diagnostic("not-settable", where, "cannot be set by a preset", value, _ACCEPTED) for where, value in found
    ]
    diagnostics += [
        Diagnostic(
            "not-settable", f"hydra.{key}", "is read before interpolations are followed", node[key], "a plain value"
        )
        for key in ("mode", "verbose")
        if "${" in str(node[key])
    ]
    diagnostics += [
        Diagnostic("not-settable", f"hydra.overrides.{kind}", "cannot be set by a preset", line, _ACCEPTED)
        for kind in ("hydra", "task")
        for line in node["overrides"][kind]
        if line not in overrides
    ]
    if diagnostics:
        raise InputError(diagnostics)
    read_space(tree)


def read_space(tree: DictConfig) -> dict[str, Any]:
    """`hydra.sweeper.params` as plain values, a mapping by Hydra's schema. InputError where it cannot be resolved."""
    try:
        params: Any = OmegaConf.to_container(tree.hydra.sweeper.params, resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(Diagnostic("unresolved", SPACE, "cannot be resolved", hint=first_line(error))) from None
    return dict(params)


def _is_hydra_override(override: str) -> bool:
    key = override.lstrip("+~")
    return key.startswith(("hydra.", "hydra/", "hydra=")) and not key.startswith(SPACE)


def _plain_node(tree: DictConfig) -> Any:
    """The node as it is written: `tree.hydra` would follow an interpolation."""
    values: Any = OmegaConf.to_container(tree, resolve=False)
    return values["hydra"]


def _find_changes(node: Any, own: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys below which `node` is not what it is in `own`, and what stands there."""
    if where in _ALLOWED or where in _HYDRA_INTERNAL:
        return
    if isinstance(node, Mapping) and isinstance(own, Mapping):
        for key, value in node.items():
            yield from _find_changes(value, own.get(key, _ABSENT), f"{where}.{key}")
    elif node != own:
        yield where, node


_ABSENT = object()
