"""Runs found by their tags, so that a resumed sweep leaves no duplicates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from embsweep.tracking.store import Store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def find_runs(store: Store, client: MlflowClient, tags: Mapping[str, str], *, status: str | None = None) -> list[Run]:
    """Runs of the store's experiment that carry all of `tags`, oldest first; deleted ones are not among them."""
    terms = [f"tags.`{name}` = '{_check_quotable(value)}'" for name, value in tags.items()]
    if status:
        terms.append(f"attributes.status = '{status}'")
    found: list[Run] = []
    token: str | None = None
    while True:
        page = client.search_runs(
            [store.experiment_id], " and ".join(terms), order_by=["attributes.start_time ASC"], page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def find_run(store: Store, client: MlflowClient, tags: Mapping[str, str]) -> Run | None:
    """The oldest run that carries all of `tags`, or None."""
    return next(iter(find_runs(store, client, tags)), None)


def _check_quotable(value: str) -> str:
    if "'" in value:
        raise ValueError(f"{value!r} cannot be searched for in MLflow; accepted: values without quotes")
    return value
