"""Which prompts a model gets: those of the configuration, of its files, or of its publisher; and which are refused."""

import pytest
from tests.refusals import raises_diagnostics

from embsweep.config.model import ModelConfig, Prompts, PublishedModel
from embsweep.models.prompts import choose_prompts

INSTRUCT = Prompts(query="Instruct: {task}\nQuery: ")


def config(published=None, **values):
    return ModelConfig(
        name="m", kind="minilm", dim=4, max_seq_length=8, published=PublishedModel(prompts=published), **values
    )


def chosen(cfg, own):
    found = choose_prompts(cfg, own)
    return found.texts.query, found.texts.document, found.origin


@pytest.mark.parametrize(
    ("own", "expected"),
    [
        ({}, ("", "", "none")),
        ({"query": "", "document": ""}, ("", "", "none")),
        ({"query": None, "s2p_query": ""}, ("", "", "none")),
        ({"query": "q: ", "document": "d: ", "passage": "p: "}, ("q: ", "d: ", "files")),
        ({"query": "q: ", "document": "", "passage": "p: "}, ("q: ", "p: ", "files")),
        ({"query": "q: ", "corpus": "c: "}, ("q: ", "c: ", "files")),
        ({"passage": "p: "}, ("", "p: ", "files")),
        ({"query": "q: ", "Retrieval-query": "r: "}, ("q: ", "", "files")),
    ],
)
def test_the_models_own_prompts(own, expected):
    assert chosen(config(), own) == expected


@pytest.mark.parametrize(
    "own", [{"s2p_query": "s: "}, {"document": "d: ", "Retrieval-query": "r: "}, {"default": "x "}]
)
def test_prompts_under_other_names_are_not_guessed(own):
    with raises_diagnostics(("ambiguous", "model.prompts")) as caught:
        choose_prompts(config(), own)
    named = [text for name, text in own.items() if name != "document"]
    assert f'{{query: "{named[0]}"}}' in caught.value.diagnostics[0].hint


def test_the_configuration_replaces_the_files():
    own = {"query": "q: ", "passage": "p: "}
    assert chosen(config(prompts={"query": "x: "}), own) == ("x: ", "", "model.prompts")
    assert chosen(config(prompts={"passage": "y: "}), own) == ("", "y: ", "model.prompts")
    none = choose_prompts(config(prompts=None), own)
    assert (none.texts, none.origin) == (Prompts(), "none")
    assert "query, passage" in none.notes[0]


def test_the_publishers_prompts_are_used_where_the_files_name_none_and_a_difference_is_reported():
    published = Prompts(query="query: ", document="passage: ")
    assert chosen(config(published), {"query": "", "document": ""}) == ("query: ", "passage: ", "publisher")
    other = choose_prompts(config(published), {"query": "q: "})
    assert (other.texts.query, other.origin, len(other.notes)) == ("q: ", "files", 1)
    assert choose_prompts(config(published), {"query": "query: ", "passage": "passage: "}).notes == ()


def test_a_task_fills_its_place_and_is_demanded():
    with raises_diagnostics(("missing-value", "model.task")):
        choose_prompts(config(INSTRUCT), {})
    with raises_diagnostics(("missing-value", "model.task")):
        choose_prompts(config(), {"query": "Task: {task} "})
    assert chosen(config(INSTRUCT, task="find"), {})[0] == "Instruct: find\nQuery: "
    filled = {"query": "Instruct: own\nQuery: "}
    assert choose_prompts(config(INSTRUCT), filled).notes == ()
    assert chosen(config(INSTRUCT), filled)[0] == "Instruct: own\nQuery: "
    assert chosen(config(INSTRUCT, task="find"), filled)[0] == "Instruct: find\nQuery: "
    assert "model.task is not used" in choose_prompts(config(task="find"), {}).notes[0]


def test_a_place_that_nothing_fills_is_refused():
    with raises_diagnostics(("conflict", "model.prompts")):
        choose_prompts(config(), {"query": "Instruct: {task_description}\nQuery: "})
