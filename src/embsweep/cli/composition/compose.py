"""Compose the configuration from `conf/` and overrides with Hydra's loader, and convert it to plain values."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from embsweep.cli.composition.validation import (
    first_line,
    undecodable_diagnostics,
    validate_hydra_node,
    yaml_diagnostic,
)
from embsweep.cli.composition.variables import check_variables
from embsweep.cli.paths import conf_dir
from embsweep.core.errors import Diagnostic, InputError

_WRITTEN = "keys and plain values; `defaults` must be a list of groups"


config_dir: ContextVar[Path | None] = ContextVar("config_dir", default=None)
"""The folder that a loader that is being opened shall add to `conf/`; read by the plugin in `hydra_plugins`."""


@contextmanager
def config_loader(folder: Path | None = None) -> Iterator[ConfigLoader]:
    """Open Hydra's loader of `conf/`, also outside a Hydra application or while another such loader is open.

    Args:
        folder: A folder with further options (`--config-dir`).
    """
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None  # Hydra refuses to start while it is initialised
    token = config_dir.set(folder)
    try:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config_dir.reset(token)
            yield GlobalHydra.instance().config_loader()
    finally:
        state.hydra = before


def compose(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """Compose `conf/config.yaml` with `overrides`, including Hydra's own node. Sweep overrides are ignored.

    Args:
        loader: Hydra's loader; see `config_loader`.
        overrides: Overrides in Hydra's syntax.

    Returns:
        The tree. It is shared between callers, so do not change it.

    Raises:
        InputError: If a file cannot be read, or if a key is set that makes Hydra call something, or takes a value from
            the environment that it may not have.
        HydraException: If the overrides and presets cannot be composed together.
    """
    with _naming_diagnostics(loader):
        tree = _load(loader, tuple(overrides))
        if diagnostics := [*validate_hydra_node(tree), *check_variables(tree)]:
            raise InputError(diagnostics)
        return tree


@lru_cache(maxsize=128)
def _load(loader: ConfigLoader, overrides: tuple[str, ...]) -> DictConfig:
    return loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)


@contextmanager
def _naming_diagnostics(loader: ConfigLoader) -> Iterator[None]:
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
        raise InputError(undecodable_diagnostics(loader)) from None
    except HydraException:
        raise
    except (ValueError, KeyError, AttributeError, TypeError, OSError) as error:  # Hydra and YAML, for some values
        raise InputError(
            Diagnostic(
                "bad-format",
                "the configuration",
                f"cannot be read ({type(error).__name__}: {first_line(error)})",
                expected=_WRITTEN,
            )
        ) from None


def group_options(loader: ConfigLoader, group: str) -> list[str]:
    """Return the names of a group's options; an empty list if there is no such group."""
    with suppress(OSError):  # the name is too long for a file, so there is no such group
        return list(loader.get_group_options(group, ObjectType.CONFIG)) if group else []
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
            return {str(key): to_plain(draft[key]) for key in draft if key != "hydra"}, list(diagnostics.values())
        except (OmegaConfBaseException, RecursionError) as error:
            where = re.sub(r"\[(\d+)\]", r".\1", str(getattr(error, "full_key", None) or "the configuration"))
            is_new, diagnostics[where] = (
                where not in diagnostics,
                Diagnostic("unresolved", where, "cannot be resolved", hint=first_line(error)),
            )
            draft = copy.deepcopy(tree) if draft is tree else draft
            if is_new and "." in where:
                with suppress(OmegaConfBaseException):
                    OmegaConf.update(draft, where, MISSING)
                    continue
            raise InputError(list(diagnostics.values())) from None  # a whole group: no values to check


def to_plain(node: Any) -> Any:
    """Convert a node with its interpolations resolved; a plain value is returned as it is."""
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=False) if OmegaConf.is_config(node) else node
