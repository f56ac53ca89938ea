"""The saved view of a sweep's trials, and the link that opens it."""

import json

import pytest

from embsweep.core.redaction import redact
from embsweep.tracking import ui_link
from embsweep.tracking.ui_link import find_page
from embsweep.tracking.views import EXPERIMENT_TAGS, VIEW_TAG, TrialsView, view_key, view_page

SWEPT = ("train.learning_rate", "matryoshka", "train.warmup")
STUDY = "0123456789abcdef" * 2


def state_of(view):
    (value,) = view.tag.values()
    return json.loads(json.loads(value)["state"])


def test_the_view_has_the_objective_the_scores_and_the_swept_keys_in_this_order():
    state = state_of(TrialsView("legal", "0a1b", "map@100", [64, 128], SWEPT, 7))
    assert state["columnOrder"] == [
        "metrics.`best_objective`",
        "metrics.`best/dim_128/map_at_100`",
        "metrics.`best/dim_64/map_at_100`",
        "params.`train.learning_rate`",
        "params.`train.epochs`",
        "params.`matryoshka`",
        "params.`train.warmup`",
        "tags.`embsweep.state`",
    ]
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`best_objective`", False)
    assert "'0a1b'" in state["searchFilter"]
    (chart,) = state["compareRunCharts"]
    assert (chart["selectedParams"], chart["selectedMetrics"][-1]) == (list(SWEPT), "best_objective")
    assert chart["metricSectionId"] == state["compareRunSections"][0]["uuid"]


def test_the_view_is_saved_as_mlflow_saves_one():
    ((name, value),) = TrialsView("legal", "0a1b", "map@100", [64], SWEPT, 7).tag.items()
    saved = json.loads(value)
    assert name == f"{VIEW_TAG}embsweep-0a1b"
    assert (saved["name"], saved["createdAt"], saved["updatedAt"]) == ("trials of legal", 7, 7)


def test_a_large_view_fits_into_a_tag_and_no_secret_is_seen_in_it():
    """The database's column has 5,000 characters in older versions of MLflow, and 20,000 in 3.17."""
    view = TrialsView(
        "n" * 80, STUDY, "precision@10", [1024, 768, 512, 256, 128, 64], [f"train.key_{n}" for n in range(9)], 7
    )
    for text in (*view.tag.values(), *EXPERIMENT_TAGS.values()):
        assert len(text) < 5000
        assert redact(text) == text


@pytest.fixture
def serve(monkeypatch):
    """Return `serve(experiments, runs)`, after which the server gives these answers."""

    def arrange(experiments, runs):
        answers = {"experiments/search": {"experiments": experiments}, "runs/search": {"runs": runs}}
        monkeypatch.setattr(ui_link, "_post", lambda url, cookie, path, query: answers[path])

    return arrange


def experiment(number, *studies):
    return {"experiment_id": number, "tags": [{"key": VIEW_TAG + view_key(study), "value": "{}"} for study in studies]}


def run(number, study):
    return {"info": {"experiment_id": number}, "data": {"tags": [{"key": "embsweep.study", "value": study}]}}


def test_the_link_opens_the_newest_sweep_that_has_a_view(serve):
    serve([{"experiment_id": "0"}, experiment("1", "a", "b")], [run("1", "without"), run("1", "b"), run("1", "a")])
    assert find_page("http://x", "c=1") == view_page("1", "b")
    assert view_page("1", "b").startswith("#/experiments/1/runs?viewStateShareKey=embsweep-b&")


@pytest.mark.parametrize(
    ("experiments", "runs"),
    [
        ([], []),
        ([experiment("1")], []),
        ([experiment("1", "a")], []),
        ([experiment("1", "a")], [{"info": {}}]),
        (None, []),
    ],
)
def test_without_a_view_the_link_opens_the_first_page(serve, experiments, runs):
    serve(experiments, runs)
    assert find_page("http://x", "c=1") == ""


def test_a_server_that_does_not_answer_is_no_reason_to_have_no_link():
    assert find_page("http://127.0.0.1:1", "c=1") == ""
