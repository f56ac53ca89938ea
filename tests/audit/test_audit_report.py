"""Uses of the audit report: evidence, first lines of a sweep, JSON; waivers; agreement with docs/audit.md."""

import json
import re
from pathlib import Path

import pytest
from made_up import as_splits, valid_sides
from tests.refusals import codes_and_locations

from embsweep.audit.findings import FIXES, WAIVABLE, Finding, order_findings, to_diagnostic, validate_waivers
from embsweep.audit.report import report_to_json, summary_lines, to_facts

DOCS = Path(__file__).resolve().parents[2] / "docs" / "audit.md"


@pytest.fixture
def leaky():
    """Return splits with one test query that is also in training, and one near-duplicate."""
    train, validation, test = valid_sides()
    test[0] = (train[0][0], test[0][1])
    test[1] = (f"{train[1][0].rstrip('?')} xyz?", test[1][1])
    return as_splits(train, validation, test)


@pytest.mark.slow
def test_an_error_counts_unless_waived_by_its_name(audit, leaky):
    assert [finding.name for finding in audit(leaky).unwaived] == ["query-on-two-sides"]
    waived = audit(leaky, waive=["query-on-two-sides", "query-on-two-sides"])
    assert waived.unwaived == ()
    assert waived.waived == ("query-on-two-sides",)
    assert [facts.name for facts in to_facts(waived) if facts.waived] == ["query-on-two-sides"]


def test_a_waiver_without_its_finding_is_not_listed(audit):
    assert audit(as_splits(*valid_sides()), waive=["empty-texts"]).waived == ()


def test_facts_are_the_findings_in_order(audit, leaky):
    report = audit(leaky)
    facts = to_facts(report)
    assert [(f.name, f.severity, f.message) for f in facts] == [
        (f.name, f.severity, f.message) for f in report.findings
    ]
    assert [f.severity for f in facts] == sorted((f.severity for f in facts), key=["error", "warning", "note"].index)


def test_summary_has_a_line_for_each_error_and_warning_and_one_for_the_notes(audit, leaky):
    lines = summary_lines(audit(leaky, waive=["query-on-two-sides"]))
    assert len(lines) == 3
    assert "waived" in lines[0] and "query-on-two-sides" in lines[0]
    assert "warning" in lines[1] and "leaked-queries" in lines[1]
    assert re.search(r"\b\d notes?\b.*: embsweep audit ", lines[2])


def test_no_text_of_the_data_is_exported(audit, leaky):
    report = audit(leaky)
    written = json.dumps(report_to_json(report)) + " ".join(summary_lines(report)) + str(to_facts(report))
    assert any(finding.examples for finding in report.findings)
    for text in (*leaky.test.queries, *leaky.test.corpus):
        assert text not in written
        assert " ".join(text.split()[:3]) not in written
    assert report_to_json(report)["figures"]["batch"]["batch_size"] == 16


def test_a_diagnostic_names_the_fix_and_the_waiver():
    diagnostic = to_diagnostic(Finding("columns-swapped", "error", "the columns look swapped"))
    assert (diagnostic.code, diagnostic.location) == ("audit-finding", "audit.columns-swapped")
    assert diagnostic.hint == f"{FIXES['columns-swapped']}; or audit.waive=[columns-swapped]"


def test_unknown_waivers_are_diagnostics_with_the_nearest_spelling():
    spelling, note, right = (
        validate_waivers(["column-swapped"]),
        validate_waivers(["language-mix"]),
        validate_waivers(WAIVABLE),
    )
    assert right == []
    assert codes_and_locations(spelling) == [("unknown-option", "audit.waive")]
    assert spelling[0].value == "column-swapped"
    assert "columns-swapped" in str(spelling[0].hint)
    assert codes_and_locations(note) == [("no-effect", "audit.waive")]
    assert note[0].value == "language-mix"


def test_errors_come_first():
    findings = [Finding(name, severity, "") for name, severity in (("a", "note"), ("b", "error"), ("c", "warning"))]
    assert [finding.name for finding in order_findings(findings)] == ["b", "c", "a"]


def test_every_finding_is_documented_with_its_severities():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| ([a-z, ]+) \|", DOCS.read_text("utf-8"), re.MULTILINE))
    assert set(rows) == set(FIXES)
    assert {name for name, severities in rows.items() if "error" in severities} == set(WAIVABLE)
