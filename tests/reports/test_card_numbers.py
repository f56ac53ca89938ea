"""Every number of the card is a stored score, and every stored score is in the card."""

import functools
import json
import re

import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st

from embsweep.core.names import METRICS
from embsweep.selection.evidence import WINNER, Evidence
from embsweep.selection.objective import compute_objective
from embsweep.selection.quantization import compute_retention, pareto_front
from embsweep.selection.slices import compare_slices
from tests.reports.card_parsing import NUMBER, body, front_matter, metric_tables, table, tables
from tests.reports.card_writing import write
from tests.reports.evidence_samples import SAMPLES, make_evidence, typical

NAMES = {"winner": "This model", "base": "Base", "BM25": "BM25", "recipe": "Recipe", "runner-up": "Runner-up"}
pytestmark = pytest.mark.slow  # a card needs sentence-transformers
make_evidence_once, write_once = (
    functools.cache(lambda sample: sample()),
    functools.cache(lambda sample: write(sample())),
)


@pytest.fixture(params=SAMPLES, ids=lambda sample: sample.__name__)
def sample(request):
    return request.param


@pytest.fixture
def evidence(sample):
    return make_evidence_once(sample)


@pytest.fixture
def card(sample):
    return write_once(sample)


def four(value):
    return f"{value:.4f}"


def between(interval):
    return f"{interval.low:.4f} to {interval.high:.4f}"


def probability(value):
    return f"{value:.4f}" if value >= 1e-4 else f"{value:.0e}"


def test_the_index_has_exactly_the_test_scores_of_the_winner(evidence, card):
    (model,) = front_matter(card)["model-index"]
    found = {
        (result["dataset"]["type"], result["dataset"]["split"], metric["type"]): metric["value"]
        for result in model["results"]
        for metric in result["metrics"]
    }
    scores = evidence.test[WINNER].scores
    assert found == {(f"dim_{d}", "test", f"cosine_{m}"): v for d, by in scores.items() for m, v in by.items()}


def test_the_hub_library_parses_the_card(evidence, card):
    card_data = ModelCard(card).data
    assert len(card_data.eval_results) == len(evidence.dims) * len(METRICS)
    assert card_data.model_name == evidence.sweep


def test_metric_tables_have_exactly_the_test_scores(evidence, card):
    found = metric_tables(card)
    assert set(found) == set(evidence.dims)
    for dim, one in found.items():
        rows = one.by("Metric")
        assert set(rows) == {*(f"cosine_{metric}" for metric in METRICS), "95 % interval"}
        assert set(one.columns) == {"Metric", *(NAMES[name] for name in evidence.test)}
        for name, record in evidence.test.items():
            column = NAMES[name]
            assert {m: rows[f"cosine_{m}"][column] for m in METRICS} == {
                metric: four(value) for metric, value in record.scores[dim].items()
            }
            assert rows["95 % interval"][column] == between(record.intervals[dim])
        (counts,) = [row for row, bold in zip(one.rows, one.bold, strict=True) if bold]
        assert counts["Metric"] == f"cosine_{evidence.metric}"


def test_the_overview_has_every_dimension_and_the_objective(evidence, card):
    rows = table(card, "Dimension", "This model", "95 % interval").by("Dimension")
    assert set(rows) == {*map(str, evidence.dims), "objective"}
    for name, record in evidence.test.items():
        assert rows["objective"][NAMES[name]] == four(evidence.objectives[name])
        for dim in evidence.dims:
            assert rows[str(dim)][NAMES[name]] == four(record.scores[dim][evidence.metric])
    for dim, interval in evidence.test[WINNER].intervals.items():
        assert rows[str(dim)]["95 % interval"] == between(interval)


def test_every_comparison_is_a_row_and_every_row_a_comparison(evidence, card):
    expected = {
        (NAMES[c.reference], "objective" if c.dim is None else str(c.dim)): (
            f"{c.difference:+.4f}",
            between(c),
            probability(c.p_value),
            probability(c.adjusted_p),
            four(c.detectable),
            str(c.queries),
            str(c.groups),
        )
        for c in evidence.comparisons
    }
    rows = table(card, "Against").rows
    assert {(row["Against"], row["Dimension"]): tuple(row.values())[2:] for row in rows} == expected
    assert len(rows) == len(evidence.comparisons)


def test_every_stored_form_is_a_row_and_those_of_the_front_are_listed_first(evidence, card):
    expected = [
        (
            f"{r.bytes:,}", str(r.dim), r.precision + ", rescored" * r.rescored, four(r.score.mean), between(r.score),
            f"{100 * share:.1f} %", f"{r.search_ms:.2f}",
        )
        for r, share in zip(evidence.quantization, compute_retention(evidence.quantization), strict=True)
    ]  # fmt: skip
    best, every = ([tuple(row.values()) for row in one.rows] for one in tables(card) if one.columns[0] == "Bytes")
    assert every == expected
    assert best == [expected[evidence.quantization.index(record)] for record in pareto_front(evidence.quantization)]


def test_the_log_has_every_evaluation_and_the_saved_one_is_bold(evidence, card):
    log = table(card, "Epoch", "Step")
    for line, row, bold in zip(evidence.training.log, log.rows, log.bold, strict=True):
        assert bold == (frozenset(log.columns) if line.is_saved else frozenset())
        assert row == {
            "Epoch": four(line.epoch),
            "Step": str(line.step),
            "Training Loss": four(line.loss),
            "Schedule": f"{line.fraction:.4g}",
            "Objective": four(line.objective),
            **{f"dim_{dim}_cosine_{evidence.metric}": four(value) for dim, value in line.values.items()},
        }


def test_finalists_and_validation(evidence, card):
    sets = evidence.validation
    rows = table(card, "Dimension", "This model", "Base", "BM25").by("Dimension")
    for name, scores in sets.items():
        assert rows["objective"][NAMES[name]] == four(compute_objective(scores, evidence.objective))
        assert {d: rows[str(d)][NAMES[name]] for d in scores} == {d: four(s["map@100"]) for d, s in scores.items()}
    finalists = [row for one in tables(card) if one.columns[0] == "Trial" for row in one.rows]
    assert [(r["Trial"], r["In the search"], r["Run again"], r["Failed"]) for r in finalists] == [
        (str(f.trial), four(f.searched), ", ".join(map(four, f.confirmed)), str(f.failures))
        for f in evidence.verdict.confirmed
    ]


def test_every_number_in_the_text_is_a_stored_one(evidence, card):
    known = {four(abs(value)) for value in _floats(evidence.model_dump())}
    known |= {four(compute_objective(scores, evidence.objective)) for scores in evidence.validation.values()}
    known |= set(NUMBER.findall(" ".join(evidence.space.values())))
    found = {match.lstrip("+-") for match in NUMBER.findall(body(card))}
    assert len(found) > 50
    assert found <= known


def _floats(part):
    if isinstance(part, dict | list | tuple):
        for inner in part.values() if isinstance(part, dict) else part:
            yield from _floats(inner)
    elif isinstance(part, float):
        yield part


def _leaves(part, path=()):
    """Yield the paths of all numbers in evidence as JSON."""
    if isinstance(part, dict | list):
        items = part.items() if isinstance(part, dict) else enumerate(part)
        for key, inner in items:
            yield from _leaves(inner, (*path, key))
    elif isinstance(part, int | float) and not isinstance(part, bool):
        yield path


SHOWN = re.compile(
    r"test/[^/]+/(scores|intervals/\d+/(low|high)).*|test/(recipe|runner-up)/trial|comparisons/\d+/(?!margin).*|objectives/.*|optimism"
    r"|validation/[^/]+/\d+/map@100|training/(trial|log/.*|params/.*|facts/.*|config/(train|loss)/.*)"
    r"|verdict/(winner|confirmed/.*)|verification/.*|data/(sizes|config)/.*|budget|counts/.*|holdout_evaluations|gate/.*"
    r"|training/config/matryoshka/weight_power|quantization/\d+/(bytes|search_ms|score/.*)"
)
"""Paths of printed numbers; the others (per-query scores, margins outside the gate, which are 0) are only hashed."""


@functools.cache
def stored():
    """Return the typical evidence as JSON, and the paths of all its numbers."""
    text = typical().model_dump_json()
    return text, list(_leaves(json.loads(text)))


def printed():
    return [path for path in stored()[1] if SHOWN.fullmatch("/".join(map(str, path)))]


def hashed():
    return [path for path in stored()[1] if path[0] in ("test", "groups", "validation")]


def _changed(path):
    """Return the typical evidence with one number changed by more than its last printed digit."""
    part = values = json.loads(stored()[0])
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] += 0.0137 if isinstance(part[path[-1]], float) else 1
    return Evidence.model_validate_json(json.dumps(values))


@settings(max_examples=25, deadline=None)
@given(path=st.deferred(lambda: st.sampled_from(printed())))
def test_a_printed_number_that_changes_changes_the_text(path):
    assert _without_hash(write(_changed(path))) != _without_hash(write_once(typical))


def _without_hash(card):
    return re.sub(r"`evidence.json` with sha256 `\w+`", "", card)


@settings(max_examples=10, deadline=None)
@given(path=st.deferred(lambda: st.sampled_from(hashed())))
def test_any_number_that_changes_changes_the_hash(path):
    assert write(_changed(path)) != write_once(typical)


def test_a_card_with_one_dimension_and_one_reference():
    evidence = make_evidence()
    test = {name: evidence.test[name] for name in ("winner", "base")}
    few = evidence.model_copy(update={"dims": (384,), "test": test, "smallest_dim": 384})
    assert set(metric_tables(write(few))) == {384}


def test_every_slice_is_a_row_with_its_intervals():
    names = ("de", "a | b", "<i>*x*</i>")
    evidence = make_evidence(slices=tuple(names[0 if n < 30 else 1 if n < 56 else 2] for n in range(60)))
    card = write(evidence)
    rows = table(card, "Slice").rows
    results = compare_slices(evidence)
    assert [(row["Queries"], row["Groups"]) for row in rows] == [("30", "15"), ("26", "13"), ("4", "2")]
    for row, result in zip(rows[:2], results, strict=False):
        for column, found in (("Base", result.base), ("This model", result.winner)):
            assert row[column] == f"{four(found.mean)} ({between(found)})"
        found = result.difference
        assert row["Difference"] == f"{found.mean:+.4f} ({found.low:+.4f} to {found.high:+.4f})"
        assert row["Adjusted p"] == probability(result.adjusted_p)
    assert tuple(rows[2].values())[3:] == ("too few", "too few", "–", "–")
    assert "No slice scores below the base model." in card
    assert "<i>" not in card
    lost = evidence.model_copy(update={"test": {**evidence.test, WINNER: evidence.test["BM25"]}})
    assert "**de lost most:** " in write(lost)
