"""What Hydra composes, each tree once a process: checking one command line asks for the same ones several times."""

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
    """The search path of a loader. Two loaders of one path compose the same."""

    paths: tuple[tuple[str | None, str | None], ...]
    loader: ConfigLoader = field(compare=False)


def load_tree(loader: ConfigLoader, overrides: Sequence[str]) -> DictConfig:
    """What Hydra composes of `config.yaml` and `overrides`: shared, so only to be read.

    Files that change while the process lives are not read again: all trials of a sweep see one configuration.
    """
    return _load(_folders(loader), tuple(overrides))


def list_options(loader: ConfigLoader, group: str) -> tuple[str, ...]:
    """Names of a group's options; none where there is no such group."""
    return _list_options(_folders(loader), group)


def _folders(loader: ConfigLoader) -> _Folders:
    return _Folders(tuple((entry.provider, entry.path) for entry in loader.get_search_path().get_path()), loader)


@lru_cache(maxsize=128)
def _load(folders: _Folders, overrides: tuple[str, ...]) -> DictConfig:
    return folders.loader.load_configuration(CONFIG_NAME, list(overrides), run_mode=RunMode.MULTIRUN)


@lru_cache(maxsize=256)
def _list_options(folders: _Folders, group: str) -> tuple[str, ...]:
    return tuple(folders.loader.get_group_options(group, ObjectType.CONFIG))
