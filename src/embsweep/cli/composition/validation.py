"""Check configuration files and Hydra's own node, of which presets may set only a few keys.

The other keys of the node belong to config.yaml and to the command line. Diagnostics of unreadable files contain file,
line and reason.
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
"""Maximum number of values in a file: nested aliases turn a few lines into gigabytes, which Hydra processes slowly."""


def yaml_diagnostic(error: yaml.YAMLError) -> Diagnostic:
    """Build the diagnostic of a file that is not YAML or names a forbidden type (`!!python/…`), with its line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = " ".join(str(error.problem).split())
        return Diagnostic(
            "bad-format", f"{mark.name}:{mark.line + 1}", f"cannot be read as YAML ({problem})", expected="plain values"
        )
    name, reason = getattr(error, "name", "a configuration file"), getattr(error, "reason", error)
    return Diagnostic("bad-format", str(name), f"cannot be read as YAML ({reason})", expected="text in UTF-8")


def first_line(error: BaseException) -> str:
    """Return a message of Hydra without its list of search paths; the exception's name if there is no message."""
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") else lines[0]


def undecodable_diagnostics(loader: ConfigLoader, folders: Sequence[Path] = ()) -> list[Diagnostic]:
    """Return a diagnostic for each file of the loader's folders and of `folders` that is not UTF-8.

    The error raised by composing does not name the file. If none is found, there is one diagnostic without a name.
    """
    own = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    found = [
        diagnostic for folder in (*own, *folders) for path in _find_files(folder) for diagnostic in _check_text(path)
    ]
    return found or [Diagnostic("not-utf8", "a configuration file", "is not text", expected="UTF-8")]


def check_config_files(folder: Path) -> None:
    """Raise InputError if files in `folder` contain more than MOST_VALUES values or begin with a BOM."""
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
    """Find the YAML files, without pipes and devices, which Hydra does not read either."""
    return [path for path in sorted(folder.rglob("*.yaml")) if path.is_file()]


def _check_text(path: Path) -> Iterator[Diagnostic]:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError as error:
        yield Diagnostic("not-utf8", str(path), f"is not text ({error.reason} at byte {error.start})", expected="UTF-8")


def _count(path: Path) -> float:
    """Count the values of a file with aliases followed; an unreadable file counts 0, composing reports it."""
    try:
        root = yaml.compose(path.read_text("utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError):
        return 0
    return _count_below(root, {})


def _count_below(node: yaml.Node | None, known: dict[int, float]) -> float:
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # until it is known: an alias of its own parent is infinite
        parts = [part for pair in node.value for part in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count_below(part, known) for part in parts)
    return known[id(node)]


SPACE = "hydra.sweeper.params"

CALL_KEYS = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_"})
"""Keys with which `hydra.utils.instantiate` calls what a configuration names; embsweep builds nothing that way."""

_ALLOWED = ("hydra.mode", "hydra.verbose", SPACE)
_ACCEPTED = f"{', '.join(_ALLOWED)}; other keys of Hydra belong on the command line"
_HYDRA_INTERNAL = (
    "hydra.runtime",
    "hydra.overrides",
    "hydra.searchpath",
    "hydra.job.name",
    "hydra.job.override_dirname",
)
"""Keys that Hydra writes while it composes, or reads only from config.yaml and the command line."""


def check_hydra_node(loader: ConfigLoader, tree: DictConfig, overrides: Sequence[str]) -> None:
    """Check that no preset changes how Hydra runs: callbacks, logging, environment, folders.

    The node is compared with the one composed from config.yaml and the command line only, before interpolations are
    followed: Hydra builds objects from this node, and `${oc.create:…}` may hide the callable from any search.

    Raises:
        InputError: If a preset sets such a key, with a diagnostic for each.
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
    """Return `hydra.sweeper.params` (a mapping by Hydra's schema) as plain values; InputError if it is unresolvable."""
    try:
        params: Any = OmegaConf.to_container(tree.hydra.sweeper.params, resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(Diagnostic("unresolved", SPACE, "cannot be resolved", hint=first_line(error))) from None
    return dict(params)


def _is_hydra_override(override: str) -> bool:
    key = override.lstrip("+~")
    return key.startswith(("hydra.", "hydra/", "hydra=")) and not key.startswith(SPACE)


def _plain_node(tree: DictConfig) -> Any:
    """Return Hydra's node with its interpolations unresolved; `tree.hydra` would follow them."""
    values: Any = OmegaConf.to_container(tree, resolve=False)
    return values["hydra"]


def _find_changes(node: Any, own: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted keys at which `node` differs from `own`, with the values in `node`."""
    if where in _ALLOWED or where in _HYDRA_INTERNAL:
        return
    if isinstance(node, Mapping) and isinstance(own, Mapping):
        for key, value in node.items():
            yield from _find_changes(value, own.get(key, _ABSENT), f"{where}.{key}")
    elif node != own:
        yield where, node


_ABSENT = object()
