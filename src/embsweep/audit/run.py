"""Entry point of the audit: runs every check on the data that a sweep would use."""

from __future__ import annotations

from collections.abc import Iterator

from embsweep.audit.duplicates import (
    find_near_texts,
    report_leaks,
    report_left_out,
    report_merged,
    report_near,
    report_shared,
)
from embsweep.audit.findings import Finding, order_findings
from embsweep.audit.in_batch_negatives import count_false_negatives, report_false_negatives
from embsweep.audit.languages import find_languages, report_languages
from embsweep.audit.lengths import measure_cuts, measure_lengths, report_cuts
from embsweep.audit.naive_evaluation import build_row_evaluation, compare_evaluations, report_naive
from embsweep.audit.overlaps import report_overlaps
from embsweep.audit.report import AuditReport, Figures, Size
from embsweep.audit.sizes import count_structure, measure_held_out, report_held_out, report_structure
from embsweep.audit.split_view import TEST, VALIDATION, SplitView, build_split_view
from embsweep.audit.texts import report_texts
from embsweep.config.model import ModelConfig
from embsweep.config.sweep import AuditConfig
from embsweep.config.training import TrainConfig
from embsweep.data.collection import Collection, Splits
from embsweep.evaluation.bm25 import rank_bm25


def audit_data(
    collection: Collection, splits: Splits, *, config: AuditConfig, model: ModelConfig, train: TrainConfig
) -> AuditReport:
    """Audit the splits of a sweep.

    This takes seconds on one core for 25,000 pairs (docs/audit.md). It trains nothing and loads no model.

    Args:
        collection: Data from which the splits were made, with the numbers of merged duplicates.
        splits: Training, validation and test data.
        config: Waivers and similarity threshold.
        model: Model whose tokenizer measures truncation.
        train: Batch size and sampler for the false negatives.

    Returns:
        All findings and the figures that they are based on.
    """
    data = build_split_view(splits)
    figures = _measure(collection, splits, data, model=model, train=train)
    findings = [
        *_report_duplicates(data, config.near_duplicate_similarity),
        *report_merged(figures.merged),
        *report_left_out(figures.merged, splits.notes),
        *report_texts(data),
        *report_cuts(figures.cuts, model),
        *report_languages(figures.languages),
        *report_structure(figures.structure),
        *report_false_negatives(figures.batch),
        *report_held_out(figures.held_out),
        *report_naive(figures.readings[0]),
    ]
    errors = {finding.name for finding in findings if finding.severity == "error"}
    waived = tuple(name for name in dict.fromkeys(config.waive) if name in errors)
    return AuditReport(order_findings(findings), figures, waived)


def _report_duplicates(data: SplitView, threshold: float) -> Iterator[Finding]:
    yield from report_shared(data)
    near = {what: find_near_texts(data, what, threshold) for what in ("queries", "passages")}
    for what, found in near.items():
        yield from report_leaks(what, found, data.sides)
    yield from report_overlaps(data.sides)
    for what, found in near.items():
        yield from report_near(what, found, threshold)


def _measure(
    collection: Collection, splits: Splits, data: SplitView, *, model: ModelConfig, train: TrainConfig
) -> Figures:
    evaluation = build_row_evaluation(data)
    bm25 = compare_evaluations("BM25", rank_bm25(evaluation.data), evaluation)
    held_out = ((VALIDATION, splits.validation), (TEST, splits.test))
    return Figures(
        data=splits.name,
        model=model.name,
        sizes=tuple(
            Size(side.name, sum(map(len, side.answers.values())), len(side.queries), len(side.passages))
            for side in data.sides
        ),
        corpus=len(data.corpus),
        merged=dict(collection.merged),
        structure=count_structure(data),
        lengths={"queries": measure_lengths(data.queries), "passages": measure_lengths(data.corpus)},
        cuts=measure_cuts(data, model),
        languages=find_languages(data),
        batch=count_false_negatives(splits.train, train),
        held_out=tuple(measure_held_out(name, found, bm25.spread) for name, found in held_out),
        readings=(bm25,),
    )
