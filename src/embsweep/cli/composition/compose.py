"""Composing configurations with Hydra's loader, from the command line's overrides to plain values."""

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
    check_files,
    check_hydra_node,
    first_line,
    undecodable_diagnostics,
    yaml_diagnostic,
)
from embsweep.cli.paths import conf_dir
from embsweep.core.errors import Diagnostic, InputError

_WRITTEN = "files of keys and plain values, with `defaults` a list of groups"
_CALLS = "names something to call"
_NO_CALLS = "values; what is built from them is chosen by name (loss=mnrl)"
_LOGGING = ("hydra.job_logging.", "hydra.hydra_logging.")
_OWN_CALLS = (
    ("hydra.sweeper._target_", "hydra_plugins.embsweep_sweeper.EmbsweepSweeper"),
    ("hydra.sweeper._recursive_", False),
    ("hydra.launcher._target_", "hydra._internal.core_plugins.basic_launcher.BasicLauncher"),
)


@contextmanager
def config_loader() -> Iterator[ConfigLoader]:
    """Hydra's loader over `conf/`, for use outside a Hydra application, or beside another such loader."""
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None  # Hydra refuses to start inside itself
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        state.hydra = before


def compose(loader: ConfigLoader, overrides: Sequence[str], folders: Sequence[Path] = ()) -> DictConfig:
    """Compose `conf/config.yaml`, Hydra's own node included; sweep overrides are left aside.

    InputError for a file that cannot be read, looked for in `folders` besides the loader's own; HydraException for
    overrides and presets that do not fit together.
    """
    with _naming_diagnostics(loader, folders):
        tree = copy.deepcopy(load_tree(loader, overrides))
        _check_tree(loader, tree, overrides)
        return tree


@contextmanager
def _naming_diagnostics(loader: ConfigLoader, folders: Sequence[Path] = ()) -> Iterator[None]:
    """InputError for what Hydra, OmegaConf and YAML raise over a file or a value; HydraException stays as it is."""
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
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:  # Hydra's and YAML's own, over a value
        problem = f"cannot be read ({type(error).__name__}: {first_line(error)})"
        raise InputError(Diagnostic("bad-format", "the configuration", problem, expected=_WRITTEN)) from None


def _check_tree(loader: ConfigLoader, tree: DictConfig, overrides: Sequence[str]) -> None:
    check_no_targets(tree)
    check_hydra_node(loader, tree, overrides)


def compose_point(loader: ConfigLoader, overrides: Sequence[str], point: Sequence[str]) -> DictConfig:
    """`compose` of `overrides` and after them `point`, but for what Hydra's own node records of the command line.

    Where no group is among `point`, its values are set in the tree of `overrides`, as Hydra does last of all: that
    takes a tenth of the time.
    """
    with _naming_diagnostics(loader):
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(point))
        if not all(_is_plain_value(loader, override) for override in parsed):
            return compose(loader, [*overrides, *point])
        tree = compose(loader, overrides)
        try:
            for override in parsed:
                OmegaConf.update(tree, override.key_or_group, override.value(), merge=True)
        except OmegaConfBaseException:  # Hydra says why
            return compose(loader, [*overrides, *point])
        _check_tree(loader, tree, [*overrides, *point])
        return tree


def _is_plain_value(loader: ConfigLoader, override: Override) -> bool:
    is_change = override.type is OverrideType.CHANGE and override.package is None
    return is_change and not override.is_sweep_override() and not group_options(loader, override.key_or_group)


def check_folder(folder: Path, overrides: Sequence[str]) -> None:
    """InputError where `overrides`, composed with a user's own folder (`--config-dir`), name something to call."""
    check_files(folder)
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
    """InputError where a file of the configuration names something to call: Hydra would import and run it.

    Only Hydra's sweeper and launcher are chosen that way, and they are embsweep's.
    """
    values = OmegaConf.to_container(tree, resolve=False)
    diagnostics = [
        call_diagnostic(where, value) for where, value in find_targets(values) if (where, value) not in _OWN_CALLS
    ]
    if diagnostics:
        raise InputError(diagnostics)


def find_targets(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys that make Hydra, or the logging that it sets up, call something, and what they name."""
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
    """What is wrong with a key of `CALL_KEYS`."""
    return Diagnostic("forbidden-call", where, _CALLS, value, _NO_CALLS)


def group_options(loader: ConfigLoader, group: str) -> list[str]:
    """Names of a group's options; empty where there is no such group."""
    try:
        return list(list_options(loader, group)) if group else []
    except OSError:  # a name too long for a file is no group's
        return []


def to_values(tree: DictConfig) -> dict[str, Any]:
    """Plain containers of everything but Hydra's own node; a value left as `???` stays that text.

    InputError with every interpolation (`${…}`) that leads nowhere.
    """
    values, diagnostics = resolve_partially(tree)
    if diagnostics:
        raise InputError(diagnostics)
    return values


def resolve_partially(tree: DictConfig) -> tuple[dict[str, Any], list[Diagnostic]]:
    """`to_values` for those who look for other faults too: where an interpolation leads nowhere, `???` and a fault."""
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
            if not (is_new and "." in where and _set_missing(draft, where)):  # a whole group: nothing to go on with
                raise InputError(list(diagnostics.values())) from None


def _set_missing(tree: DictConfig, where: str) -> bool:
    try:
        OmegaConf.update(tree, where, MISSING)
    except OmegaConfBaseException:
        return False
    return True


def _to_plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=False) if OmegaConf.is_config(node) else node
