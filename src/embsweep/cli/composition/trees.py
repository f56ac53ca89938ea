"""Cache of the trees that Hydra composes: checking one command line needs the same trees several times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig

CONFIG_NAME = "config"


@dataclass(frozen=True)
class _Folders:
    """Search path of a loader, as a cache key: loaders with equal search paths compose equal trees."""

    paths: tuple[tuple[str | None, str | None], ...]
    loader: ConfigLoader = field(compare=False)


def load_tree(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """Return the tree of `config.yaml` and `overrides`. It is shared between callers, so do not change it.

    Files that change while the process runs are not read again, so that all trials of a sweep use one configuration.
    """
    return _load(_folders(loader), tuple(overrides))


def list_options(loader: ConfigLoader, group: str) -> tuple[str, ...]:
    """Return the names of a group's options; nothing if there is no such group."""
    return _list_options(_folders(loader), group)


def _folders(loader: ConfigLoader) -> _Folders:
    return _Folders(tuple((entry.provider, entry.path) for entry in loader.get_search_path().get_path()), loader)


@lru_cache(maxsize=128)
def _load(folders: _Folders, overrides: tuple[str, ...]) -> DictConfig:
    return folders.loader.load_configuration(CONFIG_NAME, list(overrides), run_mode=RunMode.MULTIRUN)


@lru_cache(maxsize=256)
def _list_options(folders: _Folders, group: str) -> tuple[str, ...]:
    return tuple(folders.loader.get_group_options(group, ObjectType.CONFIG))
