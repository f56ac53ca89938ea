"""The page that the link of `embsweep ui` opens: the saved view of the newest sweep's trials."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from embsweep.tracking.views import VIEW_TAG, view_key, view_page

_TIMEOUT_S = 10
_API = "/ajax-api/2.0/mlflow"
_ALL = {"max_results": 1000}


def find_page(url: str, cookie: str) -> str:
    """Return the part of the link behind the server's address that opens the newest sweep's view.

    It is empty if there is no sweep, if it has no view, or if the server does not say.

    Args:
        url: Address of the server.
        cookie: Cookie of the server's guard, `name=value`.
    """
    try:
        experiments = _post(url, cookie, "experiments/search", _ALL).get("experiments", [])
        views = {experiment["experiment_id"]: _list_views(experiment) for experiment in experiments}
        query = {
            "experiment_ids": [number for number, keys in views.items() if keys],
            "filter": "tags.`embsweep.role` = 'sweep'",
            "order_by": ["attributes.start_time DESC"],
            "max_results": 50,
        }
        runs = _post(url, cookie, "runs/search", query).get("runs", []) if query["experiment_ids"] else []
        for run in runs:
            study = next(tag["value"] for tag in run["data"]["tags"] if tag["key"] == "embsweep.study")
            experiment_id = run["info"]["experiment_id"]
            if view_key(study) in views[experiment_id]:
                return view_page(experiment_id, study)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration):
        return ""  # the interface itself works
    return ""


def _list_views(experiment: dict[str, Any]) -> set[str]:
    names = (tag["key"] for tag in experiment.get("tags", []))
    return {name.removeprefix(VIEW_TAG) for name in names if name.startswith(VIEW_TAG)}


def _post(url: str, cookie: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
    """Return the answer to a request that reads, which never passes through a proxy."""
    headers = {"Content-Type": "application/json", "Cookie": cookie}
    request = urllib.request.Request(f"{url}{_API}/{path}", json.dumps(query).encode(), headers)  # noqa: S310 - our URL
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=_TIMEOUT_S) as answer:
        found: dict[str, Any] = json.load(answer)
    return found
