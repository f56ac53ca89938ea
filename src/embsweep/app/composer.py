"""Composing configurations with Hydra's loader, from the command line's overrides to plain values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from hydra import initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embsweep.app.paths import conf_dir
from embsweep.errors import Fault, InputError

CONFIG_NAME = "config"


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


def compose(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """Compose `conf/config.yaml`, Hydra's own node included; sweep overrides are left aside."""
    return loader.load_configuration(CONFIG_NAME, list(overrides), run_mode=RunMode.MULTIRUN)


def group_options(loader: ConfigLoader, group: str) -> list[str]:
    """Names of a group's options; empty where there is no such group."""
    return list(loader.get_group_options(group, ObjectType.CONFIG)) if group else []


def to_values(tree: DictConfig) -> dict[str, Any]:
    """Plain containers of everything but Hydra's own node; a value left as `???` stays that text.

    InputError where an interpolation (`${…}`) leads nowhere.
    """
    try:
        return {str(key): _to_plain(tree[key]) for key in tree if key != "hydra"}
    except OmegaConfBaseException as error:
        where = str(error.full_key or "the configuration")
        raise InputError(Fault(where, "cannot be resolved", fix=str(error).splitlines()[0])) from None


def _to_plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=True, throw_on_missing=False) if OmegaConf.is_config(node) else node
