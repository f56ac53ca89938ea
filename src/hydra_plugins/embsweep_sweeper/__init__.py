"""The Hydra sweeper plugin of embsweep, selected by `hydra/sweeper: embsweep`."""

# No `from __future__ import annotations` here: Hydra executes plugins before they are in sys.modules, and
# dataclasses look string annotations up there.

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
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
    """Receives the composed configuration and the overrides, and runs the sweep."""

    def __init__(self, params: DictConfig) -> None:
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra passes before it calls `sweep`."""
        self.loader = hydra_context.config_loader
        self.hydra_overrides = list(config.hydra.overrides.hydra)  # hydra.sweeper.params=… is among them

    def sweep(self, arguments: list[str]) -> None:
        """Run the sweep that `arguments`, the task overrides of the command line, request."""
        from embsweep.cli.main import run_from_hydra  # only now: Hydra imports every plugin at start-up

        run_from_hydra(self.loader, [*self.hydra_overrides, *arguments])
