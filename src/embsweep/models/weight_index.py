"""Check of weight indexes (`*.index.json`), which name the files that a model's weights are read from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

SUFFIX = ".index.json"


def check_index(path: Path) -> Iterator[str]:
    """Yield what is wrong with the files that an index names.

    They lie below the index's folder and have the suffix that the index's own name has before `.index.json`:
    transformers reads a file with any other suffix than `.safetensors` as a pickle. Whether they exist is not checked:
    transformers names an absent one.
    """
    suffix = PurePosixPath(path.name.removesuffix(SUFFIX)).suffix
    try:
        named = json.loads(path.read_text("utf-8"))["weight_map"].values()
        shards = sorted({str(name) for name in named})
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        yield f"cannot be read ({type(error).__name__})"
        return
    for shard in shards:
        place = PurePosixPath(shard)
        if place.is_absolute() or ".." in place.parts:
            yield f"names weights outside the model's folder ({shard!r})"
        elif place.suffix != suffix:
            yield f"names weights in {shard!r}; accepted: files with the suffix {suffix!r}"
