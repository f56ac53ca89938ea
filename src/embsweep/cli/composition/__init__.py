"""Hydra: command-line overrides and `conf/` in, configuration and search space out. Only here is Hydra imported."""
