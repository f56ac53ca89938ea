"""The audit itself: every check on the data that a sweep would really use."""

from __future__ import annotations

from embsweep.audit.duplicates import (
    check_sides,
    find_near_passages,
    find_near_queries,
    report_leaks,
    report_merged,
    report_near,
)
from embsweep.audit.finding import order_findings
from embsweep.audit.report import AuditReport
from embsweep.audit.used import read_used
from embsweep.config.machinery import AuditConfig
from embsweep.config.training import ModelConfig, TrainConfig
from embsweep.data.collection import Collection, Splits


def audit_data(
    collection: Collection, splits: Splits, *, config: AuditConfig, model: ModelConfig, train: TrainConfig
) -> AuditReport:
    """All findings about `splits`; `collection` says what was merged before it was split."""
    data = read_used(splits)
    threshold = config.near_duplicate_similarity
    near_queries, near_passages = find_near_queries(data, threshold), find_near_passages(data, threshold)
    findings = [
        *report_merged(dict(collection.merged)),
        *check_sides(data),
        *report_leaks("queries", near_queries, data.sides),
        *report_leaks("passages", near_passages, data.sides),
        *report_near("queries", near_queries, threshold),
        *report_near("passages", near_passages, threshold),
    ]
    errors = {finding.name for finding in findings if finding.severity == "error"}
    return AuditReport(order_findings(findings), tuple(name for name in config.waive if name in errors))
