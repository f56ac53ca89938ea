"""Identity of a sweep: its search space, its data and every setting that can change a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embsweep.config import Config
from embsweep.config.search_space import SearchSpace, describe
from embsweep.core.errors import SweepRefused

# These may change in a resumed sweep: budget, audit, confirmation, gate, runner, tracking, checkpoints to keep.
_FREE = ("search.trials", "audit.", "confirm.", "gate.", "runner.", "tracking.", "storage.", "scale.", "sweep.")


def compute_identity(
    recipe: Config, space: SearchSpace, data_fingerprint: str, *, epoch_factor: float = 1.0
) -> dict[str, Any]:
    """Return every setting that must not change under one sweep name: dotted key → value, as plain JSON.

    Args:
        recipe: The configuration of trial 0, scaled.
        space: The search space; a swept key is represented by its dimension instead of its value.
        data_fingerprint: The fingerprint of the split data.
        epoch_factor: The factor by which a rehearsal shortens every schedule. If the epochs are swept, no key of the
            configuration contains it.
    """
    config = {key: value for key, value in flatten(recipe.model_dump(mode="json")) if not key.startswith(_FREE)}
    axes = {f"space {dimension.key}": describe(dimension) for dimension in space}
    swept = tuple(dimension.key for dimension in space)
    facts = {"data fingerprint": data_fingerprint, "scale.epoch_factor": epoch_factor}
    return {**{k: v for k, v in config.items() if k not in swept}, **axes, **facts}


def check_identity(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the existing sweep of this name is the requested one.

    Args:
        name: The sweep's name.
        then: The identity stored in the ledger.
        now: The identity of the request.

    Raises:
        SweepRefused: If the identities differ, with every differing key.
    """
    keys = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if keys:
        lines = [f"  {key}: {then.get(key, 'absent')} before, {now.get(key, 'absent')} now" for key in keys]
        raise SweepRefused(
            "other-sweep",
            f"a different sweep named '{name}' exists:\n"
            + "\n".join(lines)
            + "\nChoose another name (sweep.name=…), or archive the earlier sweep (sweep.fresh=true).",
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings with their dotted keys; empty mappings are omitted."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
