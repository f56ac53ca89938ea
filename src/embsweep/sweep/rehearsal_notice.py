"""What a rehearsal changes in a sweep, as text: printed at its start, complete, with the values of the full sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator

from embsweep.config import Config
from embsweep.config.rehearsal import Rehearsal
from embsweep.core.mappings import flatten

_NAMED_ELSEWHERE = ("sweep.name", "tracking.", "model.")
"""In the headline, and in the lines about MLflow and the registered version."""
_BY_RULE = (
    *("train.epochs", "train.batch_size", "train.accumulation", "train.precision", "train.attention"),
    *("eval.dims", "matryoshka.dims", "matryoshka.weights", "gate.dims", "objective.dim_weights", "objective.floors"),
)
"""Described by the rule that holds for every trial: they may be swept, so that one value says too little."""


def describe_headline(requested: Config, recipe: Config, scale: Rehearsal) -> str:
    """Return the first line of a sweep: its name and model, and for a rehearsal what it stands for."""
    if not scale.is_rehearsal:
        return f"Sweep '{recipe.sweep.name}' on {recipe.model.name}"
    return (
        f"REHEARSAL of '{requested.sweep.name}' on {recipe.model.name} instead of {requested.model.name}, capped to "
        "run in minutes. Use a GPU or scale=full for the full sweep."
    )


def describe_changes(requested: Config, recipe: Config, scale: Rehearsal) -> Iterator[str]:
    """Yield lines with every setting that differs from the full sweep's, whose value is in brackets.

    Args:
        requested: The configuration of the full sweep.
        recipe: The configuration that `scale` has made of it.
        scale: The scaling; nothing is yielded if it is not a rehearsal.
    """
    if not scale.is_rehearsal:
        return
    changed = find_changes(requested, recipe)
    if changes := [f"{key}={json.dumps(new)} ({json.dumps(old)})" for key, (old, new) in changed.items()]:
        yield f"Instead of the full sweep's values (in brackets): {', '.join(changes)}"
    caps, dims = recipe.scale.rehearsal, (recipe.model.dim, requested.model.dim)
    rules = [
        f"train.batch_size at most {caps.max_batch_size}",
        f"train.accumulation at most {caps.max_accumulation}",
        "train.precision and train.attention auto",
        *([f"train.epochs × {scale.epoch_factor:.2g}"] if scale.epoch_factor < 1 else []),
        *([f"dimensions × {dims[0]}/{dims[1]}"] if dims[0] != dims[1] else []),
    ]
    yield f"In every trial: {', '.join(rules)}. The gate's rules are those of the full sweep."


def find_changes(requested: Config, recipe: Config) -> dict[str, tuple[object, object]]:
    """Return dotted key → values before and after scaling, without names, the model, and what is scaled by a rule."""
    before, after = (dict(flatten(config.model_dump(mode="json"))) for config in (requested, recipe))
    changed = {key: (before.get(key), after.get(key)) for key in {**before, **after}}
    return {
        key: values
        for key, values in changed.items()
        if values[0] != values[1]
        and (key == "model.max_seq_length" or not key.startswith((*_NAMED_ELSEWHERE, *_BY_RULE)))
    }
