"""The configuration as frozen, validated values. This package neither reads files nor uses Hydra."""

from embsweep.config.root import Config, build_config, check_trainable
from embsweep.config.training import TrialConfig

__all__ = ["Config", "TrialConfig", "build_config", "check_trainable"]
