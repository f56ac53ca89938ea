"""Evidence parsed from JSON has every dimension that card and gate use."""

import json

import pytest
from pydantic import ValidationError

from embsweep.selection.evidence import BASE, WINNER, Evidence
from tests.reports.evidence_samples import DIMS, OBJECTIVE, make_evidence

TEXT = make_evidence().model_dump_json()


def test_evidence_is_unchanged_after_parsing():
    assert Evidence.model_validate_json(TEXT) == make_evidence()


@pytest.mark.parametrize("split", ["test", "validation"])
@pytest.mark.parametrize("name", [WINNER, BASE])
@pytest.mark.parametrize("dim", DIMS)
def test_a_missing_dimension_is_refused(split, name, dim):
    values = json.loads(TEXT)
    del (values["test"][name]["scores"] if split == "test" else values["validation"][name])[str(dim)]
    with pytest.raises(ValidationError, match=rf"{split}.*map@100.*{name}.*\b{dim}\b"):
        Evidence.model_validate_json(json.dumps(values))


def test_a_floor_is_the_score_of_the_base_model_on_the_same_split():
    objective = OBJECTIVE.model_copy(update={"floors": {64: "base"}})
    evidence = make_evidence().model_copy(update={"objective": objective})
    metric = evidence.metric
    assert evidence.test_objective.floors == {64: evidence.test[BASE].scores[64][metric]}
    assert evidence.on_validation(BASE) > 0
    lowered = {dim: {m: v - 0.001 for m, v in by.items()} for dim, by in evidence.validation[BASE].items()}
    worse = evidence.model_copy(update={"validation": {**evidence.validation, WINNER: lowered}})
    assert worse.on_validation(WINNER) == pytest.approx(-0.001), "just below the base model on validation"


def alter(part, change):
    values = json.loads(TEXT)
    values[part] = change(values[part])
    return json.dumps(values)


def test_evidence_without_later_fields_is_read():
    values = json.loads(TEXT)
    del values["quantization"], values["slices"]
    for record in values["test"].values():
        del record["ranks"]
    evidence = Evidence.model_validate_json(json.dumps(values))
    assert (evidence.quantization, evidence.slices, evidence.test[WINNER].ranks) == ((), (), ())


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda rows: rows + rows[-1:], "repeats"),
        (lambda rows: [{**rows[0], "dim": 5}, *rows[1:]], "dimension 5"),
        (lambda rows: rows[1:], f"no float32 at dimension {max(DIMS)}"),
        (lambda rows: [{**rows[0], "search_ms": float("nan")}, *rows[1:]], "finite number"),
        (lambda rows: [{**rows[0], "precision": "int4"}, *rows[1:]], "precision"),
    ],
)
def test_hostile_records_of_stored_embeddings_are_refused(change, named):
    with pytest.raises(ValidationError, match=named):
        Evidence.model_validate_json(alter("quantization", change))


def test_ranks_and_slices_have_one_value_a_query():
    with pytest.raises(ValidationError, match="slices: 3 values for 60"):
        Evidence.model_validate_json(alter("slices", lambda _: ["a", "b", "c"]))
    with pytest.raises(ValidationError, match="ranks of the base: 1 values for 60"):
        Evidence.model_validate_json(alter("test", lambda test: {**test, BASE: {**test[BASE], "ranks": [3]}}))
