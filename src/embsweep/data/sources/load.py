"""Entry point of the data sources: read the configured data into one judged collection."""

from __future__ import annotations

from pathlib import Path

from embsweep.config.data import BeirConfig, DataConfig, DocstringsConfig, FilesConfig
from embsweep.data.collection import Collection
from embsweep.data.sources.beir import load_beir
from embsweep.data.sources.docstrings import load_docstrings
from embsweep.data.sources.files import load_files
from embsweep.data.sources.hub import load_hub


def load_collection(config: DataConfig, cache_dir: Path) -> Collection:
    """Read, check and merge the configured data; the same input gives the same collection.

    Only the source `docstrings` writes to `cache_dir`.

    Raises:
        InputError: If the data has errors; with a diagnostic for each.
    """
    if isinstance(config, DocstringsConfig):
        return load_docstrings(config.packages, cache_dir, by_package=config.slice is not None)
    if isinstance(config, FilesConfig):
        return load_files(config)
    if isinstance(config, BeirConfig):
        return load_beir(config)
    return load_hub(config)
