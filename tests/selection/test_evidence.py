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
