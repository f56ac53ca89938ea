"""Names of metrics, slices, aliases and rehearsals, here and in MLflow.

Metrics have the field's names (`map@100`). MLflow rejects `@` in the name of a metric, so that the same value is
`eval/dim_256/map_at_100` there.
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
"""Every metric that an evaluation computes at every dimension."""

NO_SLICE = "(none)"
"""Slice of the queries whose rows have no value in the column `data.slice`."""

OTHER_SLICES = "(other)"
"""Slice of the queries whose value is not among the most frequent ones."""

CHALLENGER = "challenger"
"""Registry alias of the newest winner."""

CHAMPION = "champion"
"""Registry alias of the version in production."""

REHEARSAL_SUFFIX = "-rehearsal"
"""Suffix of a rehearsal's sweep and registered model, so that neither can be mistaken for the real one."""


def tracked_metric(dim: int, metric: str, *, prefix: str = "eval") -> str:
    """Return MLflow's name of a metric at a dimension, such as `eval/dim_256/map_at_100`.

    Args:
        dim: Dimension of the embeddings.
        metric: One of `METRICS`.
        prefix: First part of the name.
    """
    return f"{prefix}/dim_{dim}/{metric.replace('@', '_at_')}"


def rehearsal_name(name: str) -> str:
    """Return `name` with the suffix of a rehearsal: `legal` → `legal-rehearsal`. It is added only once."""
    return name if name.endswith(REHEARSAL_SUFFIX) else name + REHEARSAL_SUFFIX
