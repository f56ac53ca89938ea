"""The configuration as frozen, checked values. Nothing here reads files or knows of Hydra."""

from embsweep.config.root import Config, build_config, check_trainable
from embsweep.config.training import TrialConfig

__all__ = ["Config", "TrialConfig", "build_config", "check_trainable"]
