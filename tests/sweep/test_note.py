"""The description of a sweep's run in MLflow."""

import dataclasses

import pytest

from embsweep.core.redaction import redact
from embsweep.search.record import STUDY
from embsweep.sweep.note import describe_sweep_run
from embsweep.sweep.projection import project_sweep, project_trial
from tests.sweep.schedulers import METADATA
from tests.sweep.test_projection import trial

TEST = {
    "metric": "map@100",
    "models": {"base": {"64": 0.4, "32": 0.3}, "recipe": {"64": 0.45, "32": 0.35}, "winner": {"64": 0.5, "32": 0.4}},
    "gains": {"64": [0.1, 0.05, 0.15], "32": [0.1, -0.01, 0.2]},
}
RESULT = {
    "winner": 2,
    "run": ["trial", 2],
    "registered": "models:/our model/3 (alias challenger: models:/our model@challenger)",
    "summary": {},
    "test": TEST,
}
VIEW = {"metric": "map@100", "dims": [64, 32], "swept": []}
DONE = {
    **METADATA,
    "title": "Sweep 's'",
    "status": "FINISHED",
    "ended_at": 9.0,
    "result": RESULT,
    "baseline": {"objective": 0.25, "bm25": {"map@100": 0.3}, "scores": {}},
    "tracking": {**METADATA["tracking"], "view": VIEW},
}


def test_a_finished_sweep_has_its_result_as_a_table():
    lines = describe_sweep_run(DONE, has_run=True).splitlines()
    assert lines[0] == "**Sweep 's'** – finished"
    assert lines[2:8] == [
        "| MAP@100 on test | 64 | 32 |",
        "| --- | ---: | ---: |",
        "| base | 0.4000 | 0.3000 |",
        "| recipe | 0.4500 | 0.3500 |",
        "| **winner**, trial 2 | 0.5000 | 0.4000 |",
        "| gain over base (95 % interval) | +0.1000 (+0.0500 to +0.1500) | +0.1000 (-0.0100 to +0.2000) |",
    ]
    text = "\n".join(lines)
    assert "(#/models/our%20model/versions/3?" in text
    assert "`embsweep promote 'our model'`" in text
    assert "9 passages; fingerprint `f`" in text
    assert "validation: 0.2500" in text


def test_names_of_others_are_neither_markup_nor_commands():
    tracking = {**DONE["tracking"], "dataset": {**DONE["tracking"]["dataset"], "name": "`![x](http://a.b/c)`"}}
    result = {**DONE["result"], "registered": "models:/legal; touch $(id)/3"}
    text = describe_sweep_run(
        {**DONE, "title": "<img src=x> [y](z)", "tracking": tracking, "result": result}, has_run=True
    )
    assert r"\<img src=x\> \[y\](z)" in text
    assert "`'![x](http://a.b/c)'`" in text
    assert "`embsweep promote 'legal; touch $(id)'`" in text


@pytest.mark.parametrize(("status", "words"), [("RUNNING", "running"), ("KILLED", "interrupted, the same command")])
def test_a_sweep_without_a_result_says_how_it_is(status, words):
    text = describe_sweep_run({**METADATA, "status": status, "ended_at": 9.0}, has_run=False)
    assert words in text
    assert "{run}" not in text
    assert "models/" not in text


def test_links_are_not_taken_for_secrets():
    text = describe_sweep_run({**DONE, "report": "0a1b"}, has_run=True)
    assert "runs/{self}/artifacts/report.html?" in text
    assert "viewStateShareKey=embsweep-0a1b" in text
    assert redact(text) == text


def test_the_description_links_to_the_winners_run_if_it_is_known():
    run = project_trial(DONE, STUDY, trial("complete", number=2, ended_at=8.0))
    state = project_sweep(DONE, [run])
    assert (state.linked.key, state.linked.name, state.linked.started_ms) == (run.key, run.name, run.started_ms)
    assert "{run}" in state.note
    alone = project_sweep(DONE)
    assert alone.linked is None
    assert "{run}" not in alone.note


def test_own_tags_are_those_of_the_sweep_and_of_every_run_below_it():
    metadata = {**METADATA, "tracking": {**METADATA["tracking"], "run_tags": {"team": "search"}}}
    states = (
        project_sweep(metadata),
        project_trial(metadata, STUDY, trial()),
        project_trial(metadata, "confirmation", dataclasses.replace(trial(number=0), params={"trial": 1, "seed": 2})),
    )
    assert [state.tags["team"] for state in states] == ["search"] * 3
