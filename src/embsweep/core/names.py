"""How metrics, dimensions and models are called: here, in sentence-transformers and in MLflow.

Metrics are named as in the field (`map@100`). MLflow refuses `@` in a metric's name, so there the same
value is `eval/dim_256/map_at_100`.
"""

from __future__ import annotations

METRICS: tuple[str, ...] = (
    *(f"accuracy@{k}" for k in (1, 3, 5, 10)),
    *(f"precision@{k}" for k in (1, 3, 5, 10)),
    *(f"recall@{k}" for k in (1, 3, 5, 10)),
    "ndcg@10",
    "mrr@10",
    "map@100",
)
"""Every metric that an evaluation holds at every dimension."""

CHALLENGER = "challenger"
"""Registry alias of the newest winner."""

CHAMPION = "champion"
"""Registry alias of the version that serves."""

REHEARSAL_SUFFIX = "-rehearsal"
"""A rehearsal's sweep and registered model carry it, so it can never be taken for the real one."""


def tracked_metric(dim: int, metric: str, *, prefix: str = "eval") -> str:
    """Name of a metric at a dimension in MLflow's alphabet: `eval/dim_256/map_at_100`."""
    return f"{prefix}/dim_{dim}/{metric.replace('@', '_at_')}"


def rehearsal_name(name: str) -> str:
    """`legal` → `legal-rehearsal`; a name that has the suffix keeps it."""
    return name if name.endswith(REHEARSAL_SUFFIX) else name + REHEARSAL_SUFFIX
