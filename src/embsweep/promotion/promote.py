"""Evaluate the gate for a registered model's challenger, and make it champion if every condition holds."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from embsweep.config.sweep import GateConfig
from embsweep.core.errors import GateRefused
from embsweep.core.files import data_cache
from embsweep.promotion.case import CandidateVersion, build_case, override, rebuild_splits
from embsweep.selection.evidence import Evidence
from embsweep.selection.gate import Condition, GateResult, evaluate_gate
from embsweep.selection.gate_rules import find_looser_keys
from embsweep.tracking.registry.aliases import (
    ModelAliases,
    champion_since,
    open_registry,
    promote_version,
    read_aliases,
    remove_stale_challenger,
)
from embsweep.tracking.registry.champion import find_unrecorded_champion
from embsweep.tracking.registry.decisions import Decision, log_decision, record_decision
from embsweep.tracking.registry.load import fetch_version, find_version
from embsweep.tracking.store import Store


@dataclass(frozen=True)
class PromotionRequest:
    """One invocation. `rule` and `data` hold the keys given on the command line, without `gate.` and `data.`.

    `standard` are the rules of conf/gate/standard.yaml: looser ones are noted.
    """

    name: str
    storage: Path
    uri: str | None = None
    rule: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    dry_run: bool = False
    standard: GateConfig | None = None


@dataclass(frozen=True)
class Promotion:
    """Result of a promotion. `record` is the path of the decision's file in the version's MLflow run.

    It is None for a dry run, or if the version has no run.
    """

    aliases: ModelAliases
    version: int
    gate_result: GateResult
    rule: GateConfig | None
    notes: tuple[str, ...]
    record: str | None = None


def promote(request: PromotionRequest, say: Callable[[str], None] = lambda line: None) -> Promotion:
    """Evaluate the gate for the challenger of a registered model; if it passes, make the challenger champion.

    If the gate refuses, the result is returned and recorded; see `GateResult.passed`. A dry run changes and records
    nothing.

    Args:
        request: The model's name, the store and the overrides.
        say: Receives progress lines.

    Raises:
        GateRefused: If there is no challenger, or another promotion or rollback was faster.
        InputError: If the model, the store, the data or the overrides are invalid.
    """
    store = open_registry(request.storage, request.uri)
    aliases = read_aliases(store, request.name)
    if aliases.challenger is None:
        if not request.dry_run:
            remove_stale_challenger(store, request.name)
        raise GateRefused("no-challenger", _describe_no_challenger(store, aliases))
    promotion = _evaluate(store, aliases, aliases.challenger, request, say)
    if unrecorded := find_unrecorded_champion(store, aliases):
        promotion = replace(promotion, notes=(unrecorded, *promotion.notes))
    if request.dry_run:
        return promotion
    return replace(promotion, record=_apply_decision(store, promotion, request))


def _evaluate(
    store: Store, aliases: ModelAliases, number: int, request: PromotionRequest, say: Callable[[str], None]
) -> Promotion:
    with tempfile.TemporaryDirectory(prefix="embsweep-") as scratch:
        challenger = _fetch(store, request.name, number, Path(scratch))
        champion = _fetch(store, request.name, aliases.champion, Path(scratch)) if aliases.champion else None
        evidence = challenger.fetched.evidence
        if evidence is None:
            why = str(challenger.fetched.error or challenger.fetched.evidence_error or "")
            return Promotion(aliases, number, GateResult((Condition("evidence", False, why),)), None, ())
        rule = override("gate", GateConfig.model_validate, evidence.gate.model_dump(), request.rule)
        say(f"Rebuilding the test set of {evidence.data.name}")
        splits = rebuild_splits(evidence.data, request.data, data_cache(request.storage))
        models = f"version {number}" + (f", champion {aliases.champion}" if champion else "") + " and the base model"
        say(f"Evaluating {models} on {len(splits.test.queries):,} test queries, {len(splits.test.corpus):,} passages")
        gate_result = evaluate_gate(build_case(challenger, champion, splits, rule))
    notes = (*_list_looser(evidence, rule, request), *_notes(evidence, rule))
    return Promotion(aliases, number, gate_result, rule, notes)


def _fetch(store: Store, name: str, number: int, scratch: Path) -> CandidateVersion:
    version = find_version(store, name, number)
    return CandidateVersion(name, number, version.tags, fetch_version(store, version, scratch / str(number)))


def _apply_decision(store: Store, promotion: Promotion, request: PromotionRequest) -> str | None:
    """Promote or refuse the challenger, and record the decision in either case."""
    details = _decision_details(promotion, request)
    if not promotion.gate_result.passed:
        failed = tuple(condition.name for condition in promotion.gate_result.failed)
        return record_decision(store, request.name, Decision("refused", promotion.version, details, failed))
    try:
        return promote_version(store, promotion.aliases, Decision("promoted", promotion.version, details))
    except GateRefused as error:
        # a file only: the version's tags belong to the promotion or rollback that was faster
        refused = Decision("refused", promotion.version, {"reason": str(error), **details}, ("one at a time",))
        log_decision(store, request.name, refused)
        raise


def _decision_details(promotion: Promotion, request: PromotionRequest) -> dict[str, Any]:
    gate_result = promotion.gate_result
    return {
        "champion": promotion.aliases.champion,
        "rule": promotion.rule.model_dump(mode="json") if promotion.rule else None,
        "overrides": {
            **{f"gate.{key}": value for key, value in request.rule.items()},
            **{f"data.{key}": value for key, value in request.data.items()},
        },
        "conditions": [asdict(condition) for condition in gate_result.conditions],
        "comparisons": [comparison.model_dump(mode="json") for comparison in gate_result.comparisons],
        "notes": list(promotion.notes),
    }


def _list_looser(evidence: Evidence, rule: GateConfig, request: PromotionRequest) -> Iterator[str]:
    """Yield a note for each key of the rule that is looser than the standard one, with both values."""
    if request.standard is None:
        return
    for key in find_looser_keys(rule, request.standard, evidence.dims):
        origin = "given now" if key in request.rule else "recorded with the sweep"
        used, standard = (json.dumps(values.model_dump(mode="json")[key]) for values in (rule, request.standard))
        yield f"gate.{key}={used} ({origin}) is looser than {standard} of conf/gate/standard.yaml"


def _notes(evidence: Evidence, rule: GateConfig) -> tuple[str, ...]:
    """Return remarks that do not prevent a promotion but should be known."""
    count, outcome = evidence.holdout_evaluations, evidence.verdict.outcome
    remarks = {
        "the rule is not the one recorded with the sweep": rule != evidence.gate,
        f"the test split was evaluated {count} times: its scores may be optimistic": count > 1,
        f"the sweep's verdict on its winner: {outcome}": outcome != "named",
    }
    return tuple(remark for remark, applies in remarks.items() if applies)


def _describe_no_challenger(store: Store, aliases: ModelAliases) -> str:
    if aliases.champion is None:
        return f"{aliases.name} has no challenger and no champion; nothing was changed"
    since = champion_since(find_version(store, aliases.name, aliases.champion))
    unrecorded = find_unrecorded_champion(store, aliases)
    text = f"{aliases.name} has no challenger: version {aliases.champion} is champion since {since}"
    return f"{text}. {unrecorded}" if unrecorded else text
