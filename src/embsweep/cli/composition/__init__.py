"""Composition of command-line overrides and `conf/` into a configuration and a search space.

Only the cli package and the plugin in `hydra_plugins` import Hydra.
"""
