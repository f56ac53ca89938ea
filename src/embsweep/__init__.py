"""Hyperparameter sweeps for embedding models that are used at several Matryoshka dimensions."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("embsweep")
except PackageNotFoundError:  # a source tree that is not installed
    __version__ = "0.0.0"
