"""embsweep: hyperparameter sweeps for embedding models that must be good at several Matryoshka dimensions."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("embsweep")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
