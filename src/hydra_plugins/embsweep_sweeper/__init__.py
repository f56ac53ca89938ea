"""Hydra plugins of embsweep: the sweeper, selected by `hydra/sweeper: embsweep`, and the search path of a loader."""

# No `from __future__ import annotations` here: Hydra executes plugins before they are in sys.modules, and
# dataclasses look string annotations up there.

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.config_store import ConfigStore
from hydra.plugins.search_path_plugin import SearchPathPlugin
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


@dataclass
class SweeperConf:
    """`params` maps a key or a group to a sweep in Hydra's override grammar: values, of which Hydra builds nothing."""

    _target_: str = "hydra_plugins.embsweep_sweeper.EmbsweepSweeper"
    _recursive_: bool = False
    params: dict[str, Any] = field(default_factory=dict)


ConfigStore.instance().store(group="hydra/sweeper", name="embsweep", node=SweeperConf, provider="embsweep")


class EmbsweepSweeper(Sweeper):
    """Calls the application once: it has parsed the search space itself, and runs the whole sweep."""

    def __init__(self, params: DictConfig) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes before it calls `sweep`."""
        self.task_function = task_function
        self.config = config

    def sweep(self, arguments: list[str]) -> None:
        """Run the application, which has read `arguments` already."""
        self.task_function(self.config)


class ConfigDirSearchPath(SearchPathPlugin):
    """Adds the folder of `config_loader` to the search path, as Hydra's application does with `--config-dir`."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folder, if there is one."""
        from embsweep.cli.composition.compose import config_dir  # only now: Hydra imports every plugin at start-up

        if folder := config_dir.get():
            search_path.append("config-dir", f"file://{folder.absolute()}")
