"""Keys of the base model: prompts, task, and code that never runs."""

import pytest
from tests.refusals import raises_diagnostics

from embsweep.config import build_config
from embsweep.config.model import Prompts


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("auto", "auto"),
        (None, None),
        ({"query": "q: "}, Prompts(query="q: ")),
        ({"query": "q: ", "passage": "p: "}, Prompts(query="q: ", document="p: ")),
        ({"query": None, "document": "", "corpus": "c "}, Prompts(document="c ")),
        ({"query": "Find:\\n"}, Prompts(query="Find:\n")),
        ({}, Prompts()),
    ],
)
def test_prompts(compose_values, given, expected):
    values = compose_values()
    values["model"]["prompts"] = given
    config = build_config(values)
    assert config.model.prompts == expected
    assert type(config.trial).model_validate_json(config.trial.model_dump_json()) == config.trial


@pytest.mark.parametrize(
    ("given", "code", "key"),
    [
        ("query: ", "wrong-type", "model.prompts"),
        ("none", "wrong-type", "model.prompts"),
        (["query: "], "wrong-type", "model.prompts"),
        ({"query": 3}, "wrong-type", "model.prompts.query"),
        ({"anchor": "q: "}, "unknown-key", "model.prompts.anchor"),
        ({"document": "d", "passage": "p"}, "conflict", "model.prompts"),
        ({"query": "Query: {query}"}, "bad-character", "model.prompts.query"),
        ({"query": "Instruct: {task} "}, "missing-value", "model.task"),
    ],
)
def test_invalid_prompts(compose_values, given, code, key):
    values = compose_values()
    values["model"]["prompts"] = given
    with raises_diagnostics((code, key)):
        build_config(values)


def test_a_task_that_a_preset_leaves_to_the_user(compose_values):
    with raises_diagnostics(("missing-value", "model.task")):
        build_config(compose_values("model=multilingual-e5-large-instruct"))


def test_code_never_runs_even_if_asked_for(compose_values):
    values = compose_values()
    values["model"]["trust_remote_code"] = True
    with raises_diagnostics(("not-settable", "model.trust_remote_code")):
        build_config(values)
