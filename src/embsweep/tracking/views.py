"""What an experiment shows in MLflow's own pages: its kind and description, and a saved view of each sweep's trials.

MLflow 3.17 keeps saved views as experiment tags `mlflow.sharedViewState.KEY` (`mlflow/server/js`, SavedViews): the
name, two times, and the state of the page as JSON. `viewStateShareKey=KEY` in the address of the page opens one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from embsweep.core.names import tracked_metric

VIEW_TAG = "mlflow.sharedViewState."
"""Prefix of the experiment tags of saved views."""

PHASE_TAG, STATE_TAG = "embsweep.phase", "embsweep.state"
"""Tags of the runs of trials and confirmations: `search` or `confirmation`, and the state in words."""

EXPERIMENT_TAGS = {
    "mlflow.experimentKind": "custom_model_development",  # the pages for models, not those for chat models
    "mlflow.note.content": (
        "Hyperparameter sweeps of Matryoshka embedding models, written by embsweep.\n\n"
        "Each sweep has one run, and below it one run for each trial of the search (`embsweep.phase = search`) and for "
        "each run that confirms a finalist with another seed (`embsweep.phase = confirmation`). The description of a "
        "sweep's run has its result; the saved view *trials of NAME* compares its trials. `objective` and `eval/…` are "
        "scores on validation during training, `best/…` those of the kept weights, `test/…` those of the winner on "
        "test.\n\n"
        "A winner is registered with the alias `challenger`. `embsweep promote NAME` makes it `champion` if it passes "
        "the gate."
    ),
}
"""Tags that an experiment gets unless it has them: people may write a description of their own."""

_OBJECTIVE, _EPOCHS, _RATE = "best_objective", "train.epochs", "train.learning_rate"
_COLUMN_PX = 105  # so that the objective, four dimensions, learning rate and epochs fit on 1440 px
_SECTION = "embsweep-search"


@dataclass(frozen=True)
class TrialsView:
    """What the view of one sweep shows: its trials with the objective's `metric` at `dims`, and the `swept` keys."""

    sweep: str
    study: str
    metric: str
    dims: Sequence[int]
    swept: Sequence[str]
    created_ms: int

    @property
    def tag(self) -> dict[str, str]:
        """The experiment tag, by its name."""
        saved = {"name": f"trials of {self.sweep}", "createdAt": self.created_ms, "updatedAt": self.created_ms}
        return {VIEW_TAG + view_key(self.study): json.dumps({**saved, "state": json.dumps(self._state())})}

    def _state(self) -> dict[str, object]:
        """Return the state of MLflow's page, apart from what it stores for each reader."""
        scores = [f"metrics.`{name}`" for name in (_OBJECTIVE, *self._scores)]
        params = [f"params.`{key}`" for key in dict.fromkeys((_RATE, _EPOCHS, *self.swept))]
        columns = [*scores, *params, f"tags.`{STATE_TAG}`"]
        return {
            "searchFilter": f"tags.`embsweep.study` = '{self.study}' and tags.`{PHASE_TAG}` = 'search'",
            "orderByKey": f"metrics.`{_OBJECTIVE}`",
            "orderByAsc": False,
            "startTime": "ALL",
            "lifecycleFilter": "Active",
            "datasetsFilter": [],
            "modelVersionFilter": "All Runs",
            "selectedColumns": columns,
            "columnOrder": columns,  # MLflow's own is alphabetical
            "columnWidths": dict.fromkeys(columns, _COLUMN_PX),
            "runsHiddenMode": "SHOW_ALL",
            "isAccordionReordered": True,
            "compareRunSections": [
                {
                    "uuid": _SECTION,
                    "name": "Search",
                    "display": True,
                    "isReordered": False,
                    "columns": 1,
                    "cardHeight": 420,
                }
            ],
            "compareRunCharts": [self._chart()],
        }

    def _chart(self) -> dict[str, object]:
        """Return the chart of parallel coordinates; its last axis, the objective, is the colour of the lines."""
        return {
            "type": "PARALLEL",
            "uuid": "embsweep-parallel",
            "metricSectionId": _SECTION,
            "isGenerated": False,
            "deleted": False,
            "runsCountToCompare": 100,
            "showAllRuns": True,
            "selectedParams": list(self.swept) or [_RATE],
            "selectedMetrics": [*self._scores, _OBJECTIVE],
        }

    @property
    def _scores(self) -> list[str]:
        return [tracked_metric(dim, self.metric, prefix="best") for dim in sorted(self.dims, reverse=True)]


def view_key(study: str) -> str:
    """Return the key of a sweep's view in MLflow."""
    return f"embsweep-{study}"


def view_page(experiment_id: str, study: str) -> str:
    """Return the part of a link behind the server's address that opens the view of a sweep."""
    key = quote(view_key(study), safe="")
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={key}&workflowType=machine_learning"
