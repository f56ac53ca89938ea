"""Each condition of the gate, and the verdict over all of them."""

import dataclasses
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embsweep.selection.evidence import BASE, WINNER, Comparison, FindingRecord
from embsweep.selection.gate import check_comparison, describe_rule, evaluate_gate
from embsweep.selection.gate_input import GateInput, ModelEvaluation, Reference
from embsweep.selection.statistics.significance import compare_models
from tests.reports.evidence_samples import DIMS, GATE, OBJECTIVE, make_evidence
from tests.texts import numbers_in

EVIDENCE = make_evidence()


def read(name, evidence=EVIDENCE, **changes):
    """Return the evaluation of a model as the sweep recorded it."""
    stored = evidence.test[name]
    values = {"scores": stored.scores, "values": stored.per_query, "dim": max(stored.scores)}
    return ModelEvaluation(**{**values, "device": "cpu", "tolerance": 1e-6, **changes})


def make_case(evidence=EVIDENCE, **changes):
    values = {
        "name": "legal",
        "rehearsal_tag": evidence.rehearsal,
        "evidence": evidence,
        "gate": evidence.gate,
        "found_fingerprint": evidence.data.fingerprint,
        "groups": evidence.groups,
        "challenger": read(WINNER, evidence),
        "base": Reference("base model minilm", read(BASE, evidence)),
        "champion": Reference("champion (version 1)", read(BASE, evidence), DIMS),
    }
    return GateInput(**{**values, **changes})


def failed(case):
    """Return the names of the conditions that do not hold."""
    return [condition.name for condition in evaluate_gate(case).failed]


def condition(case, name):
    return next(c for c in evaluate_gate(case).conditions if c.name == name)


def shift(scores, by):
    return {dim: {metric: value + by for metric, value in values.items()} for dim, values in scores.items()}


def test_a_valid_challenger_passes_with_every_condition_listed():
    gate_result = evaluate_gate(make_case())
    assert gate_result.passed
    names = [c.name for c in gate_result.conditions]
    expected = ["complete", "same test set", "verification", "beats base", "beats champion", "audit", "name", "floors"]
    assert names == expected
    assert [check.dim for check in condition(make_case(), "beats base").dims] == list(DIMS)


ERROR = FindingRecord(name="leaked-passages", severity="error", message="4 passages on two sides")


@pytest.mark.parametrize(
    ("case", "name", "names"),
    [
        (make_case(make_evidence(complete=False, counts={"complete": 5})), "complete", ["5", "8"]),
        (make_case(make_evidence(audit=(ERROR,))), "audit", ["leaked-passages"]),
        (make_case(name="legal-rehearsal"), "name", ["'legal-rehearsal'"]),
        (
            make_case(make_evidence(objective=OBJECTIVE.model_copy(update={"floors": {64: 0.99}}))),
            "floors",
            ["64", "0.9900"],
        ),
        (
            make_case(challenger=read(WINNER, scores=shift(EVIDENCE.test[WINNER].scores, 2e-6))),
            "verification",
            ["2.0e-06"],
        ),
        (make_case(base=Reference("base model minilm", read(WINNER))), "beats base", ["minilm:", "0", "3"]),
        (make_case(champion=Reference("champion (version 1)", read(WINNER))), "beats champion", ["1):", "0", "3"]),
    ],
)
def test_one_defect_fails_one_condition_with_its_numbers(case, name, names):
    assert failed(case) == [name]
    assert [word for word in names if word not in re.split("[ ,]+", condition(case, name).text)] == []
    assert len(evaluate_gate(case).conditions) == 8


def test_all_failed_conditions_are_reported():
    evidence = make_evidence(complete=False, audit=(ERROR,))
    case = make_case(evidence, name="legal-rehearsal", base=Reference("base model minilm", read(WINNER, evidence)))
    assert failed(case) == ["complete", "beats base", "audit", "name"]


def test_a_waived_error_passes_and_is_named():
    waived = ERROR.model_copy(update={"waived": True})
    found = condition(make_case(make_evidence(audit=(waived,))), "audit")
    assert found.passed
    assert "leaked-passages" in found.text


@pytest.mark.parametrize(
    ("device", "tolerance", "difference", "passed"),
    [("cpu", 1e-6, 9e-7, True), ("cpu", 1e-6, 1.5e-6, False), ("cuda", 1e-3, 9e-4, True), ("cuda", 1e-3, 2e-3, False)],
)
def test_verification_has_the_tolerance_of_its_device(device, tolerance, difference, passed):
    scores = shift(EVIDENCE.test[WINNER].scores, difference)
    case = make_case(challenger=read(WINNER, scores=scores, device=device, tolerance=tolerance))
    assert condition(case, "verification").passed is passed


@pytest.mark.parametrize("metric", ["accuracy@1", "map@100"])
def test_a_nan_score_fails_the_verification(metric):
    scores = {dim: dict(values) for dim, values in EVIDENCE.test[WINNER].scores.items()}
    scores[64][metric] = math.nan
    assert condition(make_case(challenger=read(WINNER, scores=scores)), "verification").passed is False


def test_a_model_without_a_recorded_dimension_fails_the_verification():
    scores = {dim: values for dim, values in EVIDENCE.test[WINNER].scores.items() if dim < 384}
    found = condition(make_case(challenger=read(WINNER, scores=scores)), "verification")
    assert (found.passed, numbers_in(found.text)) == (False, [384])


def test_on_other_data_only_conditions_without_scores_are_decided():
    evidence_error = ModelEvaluation(reason_missing="not evaluated: this is not the sweep's test set")
    case = make_case(
        make_evidence(complete=False),
        found_fingerprint="ef" * 32,
        challenger=evidence_error,
        base=Reference("base", evidence_error),
    )
    assert failed(case) == ["complete", "same test set", "verification", "beats base", "beats champion"]
    assert {"efefefefefef", "abababababab"} <= set(re.findall("[a-f0-9]{12}", condition(case, "same test set").text))
    assert [condition(case, name).passed for name in ("verification", "beats base", "beats champion")] == [None] * 3


def test_altered_weights_fail_the_verification_and_leave_comparisons_undecided():
    case = make_case(challenger=ModelEvaluation(reason_missing="legal version 2: model.safetensors was changed"))
    assert condition(case, "verification").passed is False
    assert condition(case, "beats base").passed is None
    assert evaluate_gate(case).comparisons == ()


def test_without_a_champion_its_condition_passes_with_a_note():
    found = condition(make_case(champion=None), "beats champion")
    assert (found.passed, found.dims) == (True, ())


def test_a_champion_that_cannot_be_evaluated_prevents_the_promotion():
    case = make_case(champion=Reference("champion (version 1)", ModelEvaluation(reason_missing="carries no hashes")))
    assert failed(case) == ["beats champion"]
    found = condition(case, "beats champion")
    assert (found.passed, found.text, found.dims) == (None, "carries no hashes", ())


def test_floors_are_checked_on_the_scores_evaluated_now():
    recorded = EVIDENCE.test[WINNER].scores
    floor = recorded[64]["map@100"] - 0.01
    evidence = make_evidence(objective=OBJECTIVE.model_copy(update={"floors": {64: floor}}))
    assert condition(make_case(evidence), "floors").passed
    lowered = read(WINNER, evidence, scores=shift(recorded, -0.02))
    assert not condition(make_case(evidence, challenger=lowered), "floors").passed


@pytest.mark.parametrize(("floor", "held"), [(0.0, True), (0.5, False)])
def test_a_floor_of_the_base_model_is_its_test_score(floor, held):
    """Its validation score differs, and the objective of the comparisons has the same floor."""
    base = shift(EVIDENCE.test[BASE].scores, floor)
    changed = EVIDENCE.test[BASE].model_copy(update={"scores": base})
    objective = OBJECTIVE.model_copy(update={"floors": {64: "base"}})
    evidence = EVIDENCE.model_copy(update={"objective": objective, "test": {**EVIDENCE.test, BASE: changed}})
    gate_result = evaluate_gate(make_case(evidence, champion=None))
    assert next(c for c in gate_result.conditions if c.name == "floors").passed is held
    assert [c.dim for c in gate_result.comparisons] == [*DIMS, None]


def test_dimensions_that_the_champion_lacks_fail_with_the_reason_unless_not_required():
    small = {dim: values for dim, values in EVIDENCE.test[BASE].per_query.items() if dim <= 128}
    champion = Reference("champion (version 1)", read(BASE, values=small, dim=128), (128, 64))
    checks = condition(make_case(champion=champion), "beats champion").dims
    assert [(c.dim, c.passed) for c in checks] == [(384, False), (128, True), (64, True)]
    assert "champion (version 1)" in checks[0].text
    assert numbers_in(checks[0].text)[-1] == 128
    rule = GATE.model_copy(update={"dims": (128, 64)})
    assert evaluate_gate(make_case(champion=champion, gate=rule)).passed


def test_dimensions_of_the_champion_must_not_be_lost():
    champion = Reference("champion (version 1)", read(BASE, dim=1024), (1024, *DIMS))
    checks = condition(make_case(champion=champion), "beats champion").dims
    assert [(c.dim, c.passed) for c in checks] == [(1024, False), (384, True), (128, True), (64, True)]
    assert "champion" not in checks[0].text
    assert numbers_in(checks[0].text) == [384]


def test_the_correction_covers_required_dimensions_only():
    all_dims = evaluate_gate(make_case(champion=None)).comparisons
    one = evaluate_gate(make_case(champion=None, gate=GATE.model_copy(update={"dims": (64,)}))).comparisons
    assert {c.dim for c in one} == {64, None}
    assert next(c for c in one if c.dim == 64).adjusted_p <= next(c for c in all_dims if c.dim == 64).adjusted_p


@pytest.mark.slow
@pytest.mark.parametrize("suffixed", [True, False])
@pytest.mark.parametrize("rehearsal", [True, False])
@pytest.mark.parametrize("tag", [True, False])
def test_rehearsals_and_only_they_have_the_suffix(suffixed, rehearsal, tag):
    evidence = make_evidence(rehearsal=rehearsal, rehearses="bge-m3" if rehearsal else None)
    name = "legal-rehearsal" if suffixed else "legal"
    found = condition(make_case(evidence, name=name, rehearsal_tag=tag), "name")
    assert found.passed is (suffixed == rehearsal == tag)


def test_the_challenger_is_compared_in_the_current_order_of_the_data():
    order = [*range(1, len(EVIDENCE.groups)), 0]
    moved = {
        name: read(name, values={dim: values[order] for dim, values in EVIDENCE.test[name].per_query.items()})
        for name in (WINNER, BASE)
    }
    groups = tuple(EVIDENCE.groups[position] for position in order)
    case = make_case(
        challenger=moved[WINNER], base=Reference("base model minilm", moved[BASE]), groups=groups, champion=None
    )
    reordered, original = evaluate_gate(case).comparisons, evaluate_gate(make_case(champion=None)).comparisons
    assert [c.difference for c in reordered] == pytest.approx([c.difference for c in original])


def compare(difference=0.02, low=0.01, adjusted_p=0.01):
    fixed = {"reference": "x", "dim": 64, "high": 0.5, "p_value": 0.01, "detectable": 0.03, "queries": 60, "groups": 30}
    return Comparison(difference=difference, low=low, adjusted_p=adjusted_p, **fixed)


def rule(**changes):
    return GATE.model_copy(update=changes)


COMPARED = [  # numbers after difference and interval: what is compared, with what, and by how much it falls short
    (compare(), "significant", rule(), True, [0.01]),
    (compare(adjusted_p=0.08), "significant", rule(), False, [0.08, 0.05, 0.03]),
    (compare(adjusted_p=0.05), "significant", rule(), False, [0.05, 0.05, 0.03]),
    (compare(-0.01, -0.02), "significant", rule(), False, [0.0, 0.01]),
    (compare(), "significant", rule(margin=0.03), False, [0.03, 0.01]),
    (compare(adjusted_p=0.9), "higher", rule(), True, []),
    (compare(0.0), "higher", rule(), False, [0.0, 0.0]),
    (compare(-0.002, -0.008), "not_worse", rule(margin=0.01), True, []),
    (compare(-0.002, -0.01), "not_worse", rule(margin=0.01), False, [-0.01, 0.0]),
    (compare(-0.002, -0.015), "not_worse", rule(margin=0.01), False, [-0.01, 0.005]),
]


@pytest.mark.parametrize(("found", "name", "config", "passed", "numbers"), COMPARED)
def test_comparison_by_each_rule(found, name, config, passed, numbers):
    held, text = check_comparison(found, name, config)
    assert held is passed
    assert text.startswith(_interval(found))
    assert numbers_in(text) == [found.difference, found.low, found.high, *numbers]


SCORES = st.floats(-1, 1)


@given(SCORES, SCORES, st.floats(0, 1), st.floats(0, 0.9), st.floats(0, 0.9))
def test_rules_are_ordered_by_strictness(difference, low, p, one, other):
    """Significant implies higher; a wider margin makes `higher` harder and `not_worse` easier."""
    found = compare(difference, min(low, difference), p)
    small, large = (rule(margin=margin) for margin in sorted((one, other)))
    held = {(name, c): check_comparison(found, name, c)[0] for name in RULES for c in (small, large)}
    assert held["higher", small] or not held["significant", small]
    assert held["higher", small] or not held["higher", large]
    assert held["not_worse", large] or not held["not_worse", small]


RULES = ("significant", "higher", "not_worse")


def test_a_rule_is_described_with_its_numbers():
    margin = [numbers_in(describe_rule(name, rule(margin=0.01))) for name in RULES]
    assert margin == [[0.01, 0.05], [0.01], [0.01]]
    assert [numbers_in(describe_rule(name, rule())) for name in RULES] == [[0.05], [], []]


def test_an_undecided_condition_is_no_pass():
    gate_result = evaluate_gate(make_case())
    open_one = dataclasses.replace(gate_result.conditions[0], passed=None)
    assert not dataclasses.replace(gate_result, conditions=(open_one, *gate_result.conditions[1:])).passed


def test_with_a_margin_the_difference_is_tested_against_the_margin():
    """The winner is .15 above the base model: significantly above 0 and .1, but not above .149."""
    for margin, held in ((0.0, True), (0.1, True), (0.149, False)):
        case = make_case(gate=GATE.model_copy(update={"margin": margin}), champion=None)
        found = evaluate_gate(case).comparisons
        lowered = {dim: values - margin for dim, values in case.challenger.values.items()}
        tested = compare_models(lowered, {"base": case.base.evaluation.values}, case.groups, config=OBJECTIVE, seed=0)
        assert [(c.p_value, c.adjusted_p) for c in found] == [(c.p_value, c.adjusted_p) for c in tested]
        assert {c.margin for c in found} == {margin}
        assert condition(case, "beats base").passed is held
    checks = condition(case, "beats base").dims
    assert all(check.text.split(": ")[0] == _interval(c) for check, c in zip(checks, found, strict=False))
    assert numbers_in(checks[0].text)[-1] == round(0.149 + found[0].detectable, 4)


def _interval(found):
    return f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"


def test_a_margin_of_not_worse_does_not_shift_the_test():
    rule = GATE.model_copy(update={"against_champion": "not_worse", "margin": 0.01})
    found = evaluate_gate(make_case(gate=rule)).comparisons
    assert {(c.reference, c.margin) for c in found} == {("base model minilm", 0.01), ("champion (version 1)", 0.0)}
