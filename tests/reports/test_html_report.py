"""The report as a page: its numbers are those of the evidence, its states, hostile texts, and its policy."""

import base64
import hashlib
import json

import pytest

from embsweep.core.errors import EmbsweepError
from embsweep.reports.html import render as rendering
from embsweep.reports.html.comparison import compare_sweeps
from embsweep.reports.html.page import QueryText, State
from embsweep.reports.html.pictures import clean_svg, draw
from embsweep.reports.html.render import render_comparison, to_json
from embsweep.selection import quantization
from embsweep.selection.evidence import BASE, BM25, RECIPE, WINNER, Interval, QuantizationRecord
from embsweep.selection.retention import compute_retention
from embsweep.selection.slices import compare_slices
from tests.reports.evidence_samples import (
    below_base,
    make_evidence,
    make_verdict,
    nine_queries,
    rehearsal,
    second_evaluation,
    tied,
    typical,
    unconfirmed,
)
from tests.reports.histories import draw_history
from tests.reports.report_pages import SVG, Page, draw_nothing, make_report, prose, render, typical_page

FLOAT32 = QuantizationRecord(
    **{"dim": 384, "precision": "float32", "rescored": False, "bytes": 1536, "search_ms": 2.5},
    score=Interval(mean=0.6, low=0.5, high=0.7),
)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>&amp;\u202egnp.exe\x1b[2J\u2028" + "א" * 200
RUNNING = State("RUNNING", 2, 9, {"complete": 2, "running": 1}, 0.3, 0.41, 1)


def test_the_table_by_dimension_has_the_numbers_of_the_evidence():
    evidence = typical()
    against = {c.dim: c for c in evidence.comparisons if c.reference == BASE}
    kept = compute_retention(evidence.test[WINNER].per_query, evidence.groups, seed=0)
    heading, *rows = Page(typical_page()).tables["quality"]
    assert heading[:7] == ["dimensions", "winner", "from", "to", "recipe", "base", "BM25"]
    assert [row[0] for row in rows] == [384, 128, 64]
    for dim, *found in rows:
        winner, c = evidence.test[WINNER].intervals[dim], against[dim]
        others = [evidence.test[name].intervals[dim].mean for name in (RECIPE, BASE, BM25)]
        expected = [winner.mean, winner.low, winner.high, *others, c.difference, c.low, c.high, c.adjusted_p]
        assert found == [*expected, kept[dim].mean]


def test_every_number_of_the_page_is_in_the_evidence_or_follows_from_it():
    evidence = typical()
    known = set(_numbers(json.loads(evidence.model_dump_json())))
    known |= {float(key) for key in (*evidence.dims, *range(len(evidence.groups) + 1))}
    for name in (WINNER, BASE):
        kept = compute_retention(evidence.test[name].per_query, evidence.groups, seed=0)
        known |= {value for interval in kept.values() for value in interval.model_dump().values()}
    known |= set(quantization.compute_retention(evidence.quantization))
    known |= {sum(facts.confirmed) / 2 for facts in evidence.verdict.confirmed}
    winner, base = (evidence.test[name].values[384] for name in (WINNER, BASE))
    known |= {one - other for one, other in zip(winner, base, strict=True)}
    found = set(Page(typical_page()).numbers)
    assert len(found) > 150
    assert found - known == set()


def _numbers(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            typical,
            ["is the winner, better than every other finalist beyond chance with 2 fresh seeds", "above the base"],
        ),
        (tied, ["Trial 3 is tied with trial 0 after 2 fresh seeds; the rule for ties chose it"]),
        (unconfirmed, ["is the only configuration, trained once", "Nothing was run again with fresh seeds"]),
        (nine_queries, ["no significant difference, from the base model", "is likely to be missed"]),
        (
            below_base,
            ["below the base model minilm", "BM25, which needs no model, has", "above the winner: find out why first"],
        ),
        (rehearsal, ["This is a rehearsal of bge-m3"]),
        (second_evaluation, ["was evaluated 2 times, so its scores may be optimistic"]),
    ],
)
def test_the_answer_says_how_sure_it_is(make, said):
    text = prose(render(make_report(make())))
    assert [words for words in said if words not in text] == []


def test_a_leader_that_was_not_run_again_is_not_called_a_winner():
    evidence = make_evidence(verdict=make_verdict("unconfirmed", confirmed=()))
    text = prose(render(make_report(evidence)))
    assert "leads the search but was not run again, so part of its lead may be chance" in text


def test_the_dimension_to_serve_is_the_smallest_without_a_significant_loss():
    evidence = make_evidence(smallest_dim=128)
    kept = compute_retention(evidence.test[WINNER].per_query, evidence.groups, seed=0)[128]
    text = prose(render(make_report(evidence)))
    assert f"Serve 128 dimensions: they keep {100 * kept.mean:.0f} %" in text
    assert "of 384's MAP@100 at a third of the bytes, no significant loss found" in text
    assert "Serve all 384 dimensions" in prose(render(make_report(make_evidence(smallest_dim=384))))


def test_stored_bytes_and_slices_are_tables_with_their_own_numbers():
    small = FLOAT32.model_copy(
        update={"precision": "int8", "bytes": 384, "score": Interval(mean=0.59, low=0.4, high=0.7)}
    )
    worse = FLOAT32.model_copy(
        update={"precision": "float16", "bytes": 768, "score": Interval(mean=0.5, low=0.4, high=0.7)}
    )
    evidence = make_evidence(quantization=(FLOAT32, small, worse), slices=("law", "tax", HOSTILE) * 20)
    page = Page(render(make_report(evidence)))
    rows = page.tables["storage"][1:]
    assert [row[1:5] + row[6:] for row in rows] == [
        [1536, 0.6, 0.5, 0.7, 2.5, "yes"],
        [384, 0.59, 0.4, 0.7, 2.5, "yes"],
        [768, 0.5, 0.4, 0.7, 2.5, ""],
    ]
    means = [[r.queries, r.groups, r.base.mean, r.winner.mean] for r in compare_slices(evidence)]
    assert [row[1:5] for row in page.tables["slices"][1:]] == means


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (
            RUNNING,
            ["is running", "2 of 9 trials have ended (2 complete, 1 running)", ".4100 (trial 1)", "status legal"],
        ),
        (State("FAILED", 1, 9, {"failed": 1}, 0.3, reasons=((0, "loss is <nan>"),)), ["has failed", "loss is <nan>"]),
        (State("KILLED", 0, 9, {}), ["was interrupted", "Nothing has been scored yet", "run_sweep.py +sweep=legal"]),
        (State("FINISHED", 9, 9, {"complete": 9}), ["is finished, but its result cannot be read"]),
    ],
)
def test_without_a_result_the_page_says_how_far_the_sweep_is(state, said):
    text = prose(render(make_report(state=state, history=draw_history(12))))
    assert [words for words in (*said, "do not choose a model from this page", "The search") if words not in text] == []
    assert "Promote the winner" not in text


def test_an_extension_that_runs_does_not_pass_for_the_result():
    text = prose(render(make_report(typical(), state=RUNNING)))
    assert "The result below is that of before" in text


def test_hostile_texts_are_shown_as_texts():
    texts = {number: QueryText(HOSTILE, HOSTILE) for number in range(60)}
    data = make_report(make_evidence(slices=(HOSTILE,) * 60), name=HOSTILE, texts=texts, history=draw_history(3))
    page = render(data)
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert not {"\u202e", "\x1b", "\u2028"} & set(page)
    assert "img" not in Page(page).tags
    assert '<p class="query" dir="auto">' in page


def test_json_cannot_end_its_script():
    written = to_json({"a": HOSTILE})
    assert not set("<>&\u2028") & set(written)
    assert json.loads(written) == {"a": HOSTILE}


def test_without_texts_only_scores_are_shown():
    page = render(make_report(typical(), has_texts=False))
    assert "report.texts=false" in page
    assert "query 7?" not in page
    assert "query 7?" in typical_page()


def test_the_policy_allows_exactly_the_scripts_of_the_page_and_nothing_is_loaded():
    page = Page(typical_page())
    run = [source for kind, source in page.scripts if kind == "module"]
    digests = [base64.b64encode(hashlib.sha256(source.encode()).digest()).decode() for source in run]
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    assert len(run) == 2
    assert page.policy.split("; ")[0] == "default-src 'none'"
    assert f"script-src {allowed}" in page.policy
    assert "eval" not in page.policy
    assert page.references == []


def test_a_script_that_would_end_early_is_refused():
    with pytest.raises(ValueError, match="end of a script"):
        rendering.content_policy(["let a = '</script>'"])


def test_a_page_that_would_be_too_large_leaves_out_the_queries_that_differ_least(monkeypatch):
    whole = len(typical_page().encode())
    monkeypatch.setattr(rendering, "LIMIT_BYTES", whole - 3000)
    texts = {number: QueryText(f"query {number}?", f"passage {number}.") for number in range(60)}
    page = render(make_report(typical(), texts=texts))
    assert len(page.encode()) <= whole - 3000
    assert "queries are left out here, those on which the models differ least" in prose(page)


def test_a_picture_refers_to_nothing_outside_and_its_ids_are_its_own():
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><defs><clipPath id="c1"/></defs><g clip-path="url(#c1)"/></svg>'
    cleaned = clean_svg(svg, "best")
    assert 'id="best-c1"' in cleaned
    assert 'clip-path="url(#best-c1)"' in cleaned
    for bad in ("<script/>", "<image href='http://x/'/>", "<g onload='x()'/>", "<rect href='#a'/>"):
        with pytest.raises(ValueError, match="the picture best has the"):
            clean_svg(SVG.replace("<g/>", bad), "best")


def test_two_sweeps_are_compared_on_the_same_queries():
    one, other = make_report(make_evidence()), make_report(make_evidence(gain=0.1), name="narrow")
    page = render_comparison(one, other, draw_charts=draw_nothing).decode()
    assert "The winner of legal beats that of narrow on test" in prose(page)
    rows = Page(page).tables["side-by-side"][1:]
    expected = [one.evidence.test[WINNER].scores[d]["map@100"] for d in (384, 128, 64)]
    assert [row[2] for row in rows] == expected


def test_sweeps_on_other_data_are_not_compared():
    evidence = make_evidence()
    other = evidence.model_copy(update={"data": evidence.data.model_copy(update={"fingerprint": "cd" * 32})})
    found = compare_sweeps(make_report(evidence), make_report(other, name="other"))
    assert "cannot be compared: the data or their split differ" in found.verdict[0]
    assert compare_sweeps(make_report(evidence), make_report(name="new")).chart is None


@pytest.mark.slow
def test_charts_are_drawn_as_pictures_without_scripts_whatever_their_texts():
    evidence = make_evidence(slices=("law", "tax", HOSTILE) * 20, quantization=(FLOAT32,))
    page = Page(render(make_report(evidence, history=draw_history(30)), draw))
    assert len([kind for kind, _ in page.scripts if kind == "application/json"]) >= 8
    assert page.references == []
    assert {"svg", "path", "text"} <= page.tags


@pytest.mark.slow
def test_a_specification_that_vega_refuses_is_an_error():
    with pytest.raises((ValueError, EmbsweepError)):
        draw([{"$schema": "https://vega.github.io/schema/vega-lite/v6.json", "mark": 3}])


@pytest.mark.nightly
def test_a_thousand_trials_and_five_thousand_queries_stay_below_the_limit():
    evidence = make_evidence(queries=5000)
    texts = {number: QueryText("<中文>&" * 60, "<中文>&" * 60) for number in range(2000)}
    page = render(make_report(evidence, texts=texts, history=draw_history(1000)), draw)
    assert len(page.encode()) <= 2_000_000
    assert "left out here" in prose(page)
