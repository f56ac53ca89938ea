"""The third use case: judge the challenger, and make it champion if every condition holds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from embsweep.config.sweep import GateConfig
from embsweep.core.errors import GateRefused
from embsweep.core.files import data_cache
from embsweep.promotion.case import Candidate, build_case, override_rule, rebuild_splits
from embsweep.selection.evidence import Evidence
from embsweep.selection.gate import Condition, Judgement, judge
from embsweep.tracking.registry.aliases import (
    Standing,
    champion_since,
    drop_stale_challenger,
    open_registry,
    read_standing,
    switch_champion,
)
from embsweep.tracking.registry.decisions import Decision, log_decision, record_decision
from embsweep.tracking.registry.load import fetch_version, find_version
from embsweep.tracking.store import Store

Say = Callable[[str], None]


@dataclass(frozen=True)
class PromotionRequest:
    """One invocation. `rule` and `data` hold the keys that the command line gives, without `gate.` and `data.`."""

    name: str
    storage: Path
    uri: str | None = None
    rule: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False


@dataclass(frozen=True)
class Promotion:
    """What came of it. `record` is the decision's file in the run behind the version, None for a dry run."""

    standing: Standing
    version: int
    judgement: Judgement
    rule: GateConfig | None
    notes: tuple[str, ...]
    record: str | None = None


def promote(request: PromotionRequest, say: Say = lambda line: None) -> Promotion:
    """Judge the challenger of a registered model; where it passes and this is no dry run, make it champion.

    A judgement that refuses is returned and recorded; see `Judgement.passed`. Raises GateRefused where there is no
    challenger or another promotion came first, InputError where the model, the store, the data or the given keys
    are at fault.
    """
    store = open_registry(request.storage, request.uri)
    standing = read_standing(store, request.name)
    if standing.challenger is None:
        if not request.dry_run:
            drop_stale_challenger(store, request.name)
        raise GateRefused("no-challenger", _describe_no_challenger(store, standing))
    promotion = _judge(store, standing, request, say)
    if request.dry_run:
        return promotion
    return replace(promotion, record=_settle(store, promotion, request))


def _judge(store: Store, standing: Standing, request: PromotionRequest, say: Say) -> Promotion:
    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        challenger = _fetch(store, standing, standing.challenger, Path(scratch))
        champion = _fetch(store, standing, standing.champion, Path(scratch))
        if challenger is None:
            raise ValueError("nobody to judge")
        number = challenger.number
        evidence = challenger.fetched.evidence
        if evidence is None:
            why = str(challenger.fetched.fault or challenger.fetched.unread or "")
            return Promotion(standing, number, Judgement((Condition("evidence", False, why),)), None, ())
        rule = override_rule(evidence.gate, request.rule)
        say(f"Rebuilding the test set of {evidence.data.name}")
        splits = rebuild_splits(evidence.data, request.data, data_cache(request.storage))
        who = f"version {number}" + (f", champion {standing.champion}" if champion else "") + " and the base model"
        say(f"Reading {who} on {len(splits.test.queries):,} test queries, {len(splits.test.corpus):,} passages")
        judgement = judge(build_case(challenger, champion, splits, rule))
    return Promotion(standing, number, judgement, rule, _notes(evidence, rule))


def _fetch(store: Store, standing: Standing, number: int | None, scratch: Path) -> Candidate | None:
    if number is None:
        return None
    version = find_version(store, standing.name, number)
    return Candidate(standing.name, number, version.tags, fetch_version(store, version, scratch / str(number)))


def _settle(store: Store, promotion: Promotion, request: PromotionRequest) -> str | None:
    """Switch or refuse, on the record either way."""
    grounds = _grounds(promotion, request)
    if not promotion.judgement.passed:
        failed = tuple(condition.name for condition in promotion.judgement.failed)
        return record_decision(store, request.name, Decision("refused", promotion.version, grounds, failed))
    try:
        return switch_champion(store, promotion.standing, Decision("promoted", promotion.version, grounds))
    except GateRefused as error:
        # a file only: the version's tags are those of whoever came first
        late = Decision("refused", promotion.version, {"reason": str(error), **grounds}, ("one at a time",))
        log_decision(store, request.name, late)
        raise


def _grounds(promotion: Promotion, request: PromotionRequest) -> dict[str, Any]:
    judgement = promotion.judgement
    return {
        "champion": promotion.standing.champion,
        "rule": promotion.rule.model_dump(mode="json") if promotion.rule else None,
        "overrides": {
            **{f"gate.{key}": value for key, value in request.rule.items()},
            **{f"data.{key}": value for key, value in request.data.items()},
        },
        "conditions": [
            {
                "name": condition.name,
                "passed": condition.passed,
                "text": condition.text,
                "dims": [{"dim": c.dim, "passed": c.passed, "text": c.text} for c in condition.dims],
            }
            for condition in judgement.conditions
        ],
        "comparisons": [comparison.model_dump(mode="json") for comparison in judgement.comparisons],
        "notes": list(promotion.notes),
    }


def _notes(evidence: Evidence, rule: GateConfig) -> tuple[str, ...]:
    """What does not stop a promotion but should be known."""
    notes = []
    if rule != evidence.gate:
        notes.append("the rule is not the one recorded with the sweep")
    if evidence.look > 1:
        notes.append(f"the sweep read its test split {evidence.look} times: its numbers flatter the challenger")
    if evidence.verdict.outcome != "named":
        notes.append(f"the sweep's verdict on its winner: {evidence.verdict.outcome}")
    return tuple(notes)


def _describe_no_challenger(store: Store, standing: Standing) -> str:
    if standing.champion is None:
        return f"{standing.name} has no challenger and no champion; nothing was changed"
    since = champion_since(find_version(store, standing.name, standing.champion))
    return f"{standing.name} has no challenger: version {standing.champion} is champion since {since}"
