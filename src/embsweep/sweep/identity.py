"""What makes a sweep the same sweep: its space, its data and every setting that can change a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from embsweep.config import Config
from embsweep.config.search_space import Space, describe
from embsweep.core.errors import SweepRefused

# Raising the budget, another runner or tracker, more checkpoints, another proof: the same sweep goes on.
_FREE = ("search.trials", "audit.", "confirm.", "gate.", "runner.", "tracking.", "storage.", "scale.", "sweep.")


def compute_identity(
    recipe: Config, space: Space, data_fingerprint: str, *, epoch_factor: float = 1.0
) -> dict[str, Any]:
    """Dotted key → value of all that may not change under one name; plain JSON.

    `epoch_factor` is what a rehearsal shortens every schedule by: where epochs are swept, no key shows it.
    """
    config = {key: value for key, value in flatten(recipe.model_dump(mode="json")) if not key.startswith(_FREE)}
    axes = {f"space {dimension.key}": describe(dimension) for dimension in space}
    swept = tuple(dimension.key for dimension in space)
    facts = {"data fingerprint": data_fingerprint, "scale.epoch_factor": epoch_factor}
    return {**{k: v for k, v in config.items() if k not in swept}, **axes, **facts}


def check_identity(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """SweepRefused with every differing key where a sweep of this name is another one."""
    keys = [key for key in sorted({*then, *now}) if then.get(key) != now.get(key)]
    if keys:
        lines = [f"  {key}: {then.get(key, 'absent')} then, {now.get(key, 'absent')} now" for key in keys]
        raise SweepRefused(
            "other-sweep",
            f"a sweep named '{name}' exists and differs:\n"
            + "\n".join(lines)
            + "\nTake another name (sweep.name=…), or move the earlier one aside (sweep.fresh=true).",
        )


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Nested mappings as dotted keys; empty ones vanish."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
