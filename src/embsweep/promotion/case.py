"""From a registered challenger to the case that the gate judges: its test set rebuilt, everyone read anew.

What a promotion's command line may change: the gate's rule, and where the data lie now.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from embsweep.config.base import ConstraintError
from embsweep.config.data import DataConfig
from embsweep.config.root import find_code
from embsweep.config.sweep import GateConfig
from embsweep.config.training import ModelConfig
from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.data.collection import Splits
from embsweep.data.groups import label_groups
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import split_collection
from embsweep.promotion.evaluate import EvaluationSpec, RegisteredModel, evaluate_models
from embsweep.selection.evidence import BASE, WINNER, DataRecord, Evidence
from embsweep.selection.gate import GateInput, ModelEvaluation, Reference, required_dims
from embsweep.tracking.registry.load import FetchedVersion

T = TypeVar("T")


def override_rule(recorded: GateConfig, overrides: Mapping[str, Any]) -> GateConfig:
    """The recorded rule with some keys replaced. InputError at `gate.…` with every fault."""
    return _validate("gate", TypeAdapter(GateConfig), {**recorded.model_dump(), **overrides})


def override_data(recorded: Mapping[str, Any], overrides: Mapping[str, Any]) -> DataConfig:
    """The recorded configuration of the data with some keys replaced. InputError at `data.…` with every fault."""
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    return _validate("data", adapter, {**recorded, **overrides})


def _validate(part: str, adapter: TypeAdapter[T], values: Mapping[str, Any]) -> T:
    try:
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        raise InputError([_to_diagnostic(part, dict(details), values) for details in error.errors()]) from None


def _to_diagnostic(part: str, details: Mapping[str, Any], values: Mapping[str, Any]) -> Diagnostic:
    loc = [str(step) for step in details["loc"] if step != values.get("kind")]  # pydantic names the union's member
    where = ".".join([part, *loc])
    if details["type"] == "extra_forbidden":
        known = [key for key in values if key != loc[-1]]
        return Diagnostic(
            "unknown-key", where, "unknown key", details["input"], ", ".join(known), did_you_mean(loc[-1], known)
        )
    misfit = details.get("ctx", {}).get("error")
    if isinstance(misfit, ConstraintError):
        return Diagnostic(misfit.code, where, misfit.message, details["input"], misfit.expected, misfit.hint)
    expected = details.get("ctx", {}).get("expected") or str(details["msg"]).removeprefix("Input should be ")
    return Diagnostic(find_code(details["type"], details["input"]), where, "does not fit", details["input"], expected)


_PATH_KEYS = {"files": "data.pairs", "beir": "data.path"}


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of the registry: name, number, tags and the fetched files."""

    name: str
    number: int
    tags: Mapping[str, str]
    fetched: FetchedVersion


def rebuild_splits(facts: DataRecord, overrides: Mapping[str, Any], cache: Path) -> Splits:
    """The split that the sweep used, read and cut again. InputError, with the key to give, where data are gone."""
    config = override_data(facts.config, overrides)
    try:
        return split_collection(load_collection(config, cache), config.split, config.max_pairs)
    except InputError as error:
        key = _PATH_KEYS.get(config.kind)
        moved = Diagnostic(
            "data-moved",
            "data",
            f"'{facts.name}' cannot be read as the sweep did",
            hint=f"if it was moved, add {key}=…",
        )
        raise InputError([*error.diagnostics, *([moved] if key else [])]) from None


def build_case(
    challenger: RegisteredVersion, champion: RegisteredVersion | None, splits: Splits, rule: GateConfig
) -> GateInput:
    """Read challenger, base and champion on the test set; on another one than the sweep's nobody is read.

    The challenger must have its evidence.
    """
    evidence = challenger.fetched.evidence
    if evidence is None:
        raise ValueError("a version without evidence cannot be judged")
    served = _evaluated_dims(champion)
    case = GateInput(
        name=challenger.name,
        rehearsal_tag=challenger.tags.get("embsweep.rehearsal") == "true",
        evidence=evidence,
        rule=rule,
        found_fingerprint=splits.fingerprint,
        groups=label_groups(splits.test.relevant),
        challenger=ModelEvaluation(diagnostic="not read: this is not the sweep's test set"),
        base=Reference(f"base model {evidence.base_model}", ModelEvaluation(diagnostic="not read")),
        champion=_champion_reference(champion, evidence),
    )
    if splits.fingerprint != evidence.data.fingerprint:
        return case
    dims = tuple(sorted({*evidence.dims, *required_dims(rule, evidence, served)}, reverse=True))
    measure = EvaluationSpec(splits.test, dims, evidence.metric, evidence.training.config.eval.batch_size)
    return _read(case, challenger, champion, measure)


def _read(
    case: GateInput, challenger: RegisteredVersion, champion: RegisteredVersion | None, measure: EvaluationSpec
) -> GateInput:
    evidence = case.evidence
    wanted: dict[str, RegisteredModel | ModelConfig] = {}
    diagnostics: dict[str, ModelEvaluation] = {}
    for name, candidate in (("challenger", challenger), ("champion", champion)):
        if candidate is not None and candidate.fetched.error:
            diagnostics[name] = ModelEvaluation(diagnostic=str(candidate.fetched.error))
        elif candidate is not None:
            wanted[name] = RegisteredModel(candidate.fetched.folder, candidate.fetched.manifest_sha256)
    if evidence.training.config.model.name == evidence.base_model:
        wanted["base"] = evidence.training.config.model
    found = diagnostics | dict(zip(wanted, evaluate_models(list(wanted.values()), measure), strict=True))
    base = _fallback_to_recorded(case.base, found.get("base"), found["challenger"], evidence)
    reference = case.champion and dataclasses.replace(case.champion, reading=found["champion"])
    return dataclasses.replace(case, challenger=found["challenger"], base=base, champion=reference)


def _fallback_to_recorded(
    reference: Reference, found: ModelEvaluation | None, challenger: ModelEvaluation, evidence: Evidence
) -> Reference:
    """The base model as read now, or as the sweep read it where it cannot be had here.

    What was recorded of each query serves only if it is about the same queries in the same order: then the
    challenger's own values are the recorded ones.
    """
    if found is not None and not found.diagnostic:
        return dataclasses.replace(reference, reading=found)
    why = found.diagnostic if found is not None else "the winner was trained from another model"
    recorded, ours = evidence.test[BASE], evidence.test[WINNER].per_query
    same = all(
        dim in challenger.values and np.allclose(challenger.values[dim], values, atol=challenger.tolerance)
        for dim, values in ours.items()
    )
    if not same:
        return dataclasses.replace(
            reference, reading=ModelEvaluation(diagnostic=f"{reference.label} {why}, and its record does not fit")
        )
    reading = ModelEvaluation(recorded.scores, recorded.per_query, max(recorded.scores), evidence.proof.device)
    return dataclasses.replace(reference, reading=reading, note="as the sweep read it, for it is not to be had here")


def _champion_reference(champion: RegisteredVersion | None, evidence: Evidence) -> Reference | None:
    if champion is None:
        return None
    theirs = champion.fetched.evidence
    same = theirs is not None and theirs.data.fingerprint == evidence.data.fingerprint
    note = "" if same else "it comes from another split and may have been trained on these queries"
    return Reference(
        f"champion (version {champion.number})", ModelEvaluation(diagnostic="not read"), _evaluated_dims(champion), note
    )


def _evaluated_dims(champion: RegisteredVersion | None) -> tuple[int, ...]:
    """Dimensions at which the champion was evaluated: they are in use."""
    evidence = champion.fetched.evidence if champion else None
    return evidence.dims if evidence else ()
