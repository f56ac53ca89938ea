"""Compose the configuration from `conf/` and overrides with Hydra's loader, and convert it to plain values."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from embsweep.cli.composition.trees import list_options, load_tree
from embsweep.cli.composition.validation import (
    CALL_KEYS,
    check_config_files,
    check_hydra_node,
    first_line,
    undecodable_diagnostics,
    yaml_diagnostic,
)
from embsweep.cli.paths import conf_dir
from embsweep.core.errors import Diagnostic, InputError

_WRITTEN = "keys and plain values; `defaults` must be a list of groups"
_CALLS = "names a callable"
_NO_CALLS = "plain values; objects are chosen by name (loss=mnrl)"
_LOGGING = ("hydra.job_logging.", "hydra.hydra_logging.")
_OWN_CALLS = (
    ("hydra.sweeper._target_", "hydra_plugins.embsweep_sweeper.EmbsweepSweeper"),
    ("hydra.sweeper._recursive_", False),
    ("hydra.launcher._target_", "hydra._internal.core_plugins.basic_launcher.BasicLauncher"),
)


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Open Hydra's loader of `conf/`, also outside a Hydra application or while another such loader is open."""
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None  # Hydra refuses to start while it is initialised
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        state.hydra = before


def compose(loader: ConfigLoader, overrides: Sequence[str], folders: Sequence[Path] = ()) -> DictConfig:
    """Compose `conf/config.yaml` with `overrides`, including Hydra's own node. Sweep overrides are ignored.

    Args:
        loader: Hydra's loader; see `config_loader`.
        overrides: Overrides in Hydra's syntax.
        folders: Further folders that are searched for a file that is not UTF-8, to name it in the error.

    Raises:
        InputError: If a file cannot be read, or if it sets keys that presets may not set.
        HydraException: If the overrides and presets cannot be composed together.
    """
    with _naming_diagnostics(loader, folders):
        tree = copy.deepcopy(load_tree(loader, overrides))
        _check_tree(loader, tree, overrides)
        return tree


@contextmanager
def _naming_diagnostics(loader: ConfigLoader, folders: Sequence[Path] = ()) -> Iterator[None]:
    """Convert errors of Hydra, OmegaConf and YAML about a file or a value to InputError, except HydraException."""
    try:
        yield
    except RecursionError:
        raise InputError(
            Diagnostic("too-many", "the configuration", "is nested too deeply", expected="a few levels")
        ) from None
    except YAMLError as error:
        raise InputError(yaml_diagnostic(error)) from None
    except UnicodeDecodeError:
        raise InputError(undecodable_diagnostics(loader, folders)) from None
    except HydraException:
        raise
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:  # Hydra and YAML, for some values
        problem = f"cannot be read ({type(error).__name__}: {first_line(error)})"
        raise InputError(Diagnostic("bad-format", "the configuration", problem, expected=_WRITTEN)) from None


def _check_tree(loader: ConfigLoader, tree: DictConfig, overrides: Sequence[str]) -> None:
    check_no_targets(tree)
    check_hydra_node(loader, tree, overrides)


def compose_point(loader: ConfigLoader, overrides: Sequence[str], point: Sequence[str]) -> DictConfig:
    """Compose `overrides` followed by `point`; only Hydra's record of the command line may lack `point`.

    If `point` chooses no group, its values are set in the tree composed from `overrides`, which is Hydra's own last
    step, too. This takes a tenth of the time.

    Args:
        loader: Hydra's loader; see `config_loader`.
        overrides: Overrides of the command line.
        point: One value for each swept key, as overrides.

    Raises:
        InputError: As in `compose`.
        HydraException: As in `compose`.
    """
    with _naming_diagnostics(loader):
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(point))
        if not all(_is_plain_value(loader, override) for override in parsed):
            return compose(loader, [*overrides, *point])
        tree = compose(loader, overrides)
        try:
            for override in parsed:
                OmegaConf.update(tree, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException:  # Hydra raises the error that explains it
            return compose(loader, [*overrides, *point])
        _check_tree(loader, tree, [*overrides, *point])
        return tree


def _is_plain_value(loader: ConfigLoader, override: Override) -> bool:
    is_change = override.type is OverrideType.CHANGE and override.package is None
    return is_change and not override.is_sweep_override() and not group_options(loader, override.key_or_group)


def check_config_dir(folder: Path, overrides: Sequence[str]) -> None:
    """Check a user's own configuration folder (`--config-dir`), composed with `overrides`.

    Raises:
        InputError: If a file cannot be read or is too large, the configuration cannot be composed, or it names a
            callable.
    """
    check_config_files(folder)
    place = str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'")
    with config_loader() as loader:
        try:
            compose(loader, [f"hydra.searchpath=['file://{place}']", *overrides], [folder])
        except HydraException as error:
            raise InputError(
                Diagnostic(
                    "refused-by-hydra", "--config-dir", "cannot be composed", str(folder), hint=first_line(error)
                )
            ) from None


def check_no_targets(tree: DictConfig) -> None:
    """Check that the configuration names no callable, which Hydra would import and call.

    Only Hydra's sweeper and launcher are chosen in this way, and only embsweep's sweeper and Hydra's basic launcher are
    allowed.

    Raises:
        InputError: If a key makes Hydra call anything else.
    """
    values = OmegaConf.to_container(tree, resolve=False)
    diagnostics = [
        call_diagnostic(where, value) for where, value in find_targets(values) if (where, value) not in _OWN_CALLS
    ]
    if diagnostics:
        raise InputError(diagnostics)


def find_targets(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted key and value of each entry that makes Hydra, or the logging that it configures, call something."""
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from find_targets(inner, f"{prefix}{number}.")
    if not isinstance(node, dict):
        return
    for name, value in node.items():
        if name in CALL_KEYS or (prefix.startswith(_LOGGING) and name in ("()", "class")):
            yield f"{prefix}{name}", value
        else:
            yield from find_targets(value, f"{prefix}{name}.")


def call_diagnostic(where: str, value: Any) -> Diagnostic:
    """Return the diagnostic for a key that names a callable."""
    return Diagnostic("forbidden-call", where, _CALLS, value, _NO_CALLS)


def group_options(loader: ConfigLoader, group: str) -> list[str]:
    """Return the names of a group's options; an empty list if there is no such group."""
    try:
        return list(list_options(loader, group)) if group else []
    except OSError:  # the name is too long for a file, so there is no such group
        return []


def to_values(tree: DictConfig) -> dict[str, Any]:
    """Convert everything except Hydra's own node to plain containers; a missing value remains the text `???`.

    Raises:
        InputError: If interpolations (`${…}`) cannot be resolved, with a diagnostic for each.
    """
    values, diagnostics = resolve_partially(tree)
    if diagnostics:
        raise InputError(diagnostics)
    return values


def resolve_partially(tree: DictConfig) -> tuple[dict[str, Any], list[Diagnostic]]:
    """Convert as `to_values`, but return diagnostics instead of raising them, so that other checks can follow.

    Returns:
        The plain values, with `???` for each interpolation that cannot be resolved, and a diagnostic for each of these.

    Raises:
        InputError: If a whole group cannot be resolved, so that no values are left to check.
    """
    draft, diagnostics = tree, dict[str, Diagnostic]()
    while True:
        try:
            return {str(key): _to_plain(draft[key]) for key in draft if key != "hydra"}, list(diagnostics.values())
        except (OmegaConfBaseException, RecursionError) as error:
            where = re.sub(r"\[(\d+)\]", r".\1", str(getattr(error, "full_key", None) or "the configuration"))
            is_new, diagnostics[where] = (
                where not in diagnostics,
                Diagnostic("unresolved", where, "cannot be resolved", hint=first_line(error)),
            )
            draft = copy.deepcopy(tree) if draft is tree else draft
            if not (is_new and "." in where and _set_missing(draft, where)):  # a whole group: no values to check
                raise InputError(list(diagnostics.values())) from None


def _set_missing(tree: DictConfig, where: str) -> bool:
    try:
        OmegaConf.update(tree, where, MISSING)
    except OmegaConfBaseException:
        return False
    return True


def _to_plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=False) if OmegaConf.is_config(node) else node
