"""Composition of command-line overrides and `conf/` into a configuration and a search space.

Only the cli package imports Hydra.
"""
