"""Build the gate's input for a registered challenger: rebuild the test set and evaluate all models on it.

The command line of a promotion may override the recorded rules of the gate and the location of the data.
"""

from __future__ import annotations

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
from embsweep.selection.gate_input import GateInput, ModelEvaluation, Reference, required_dims
from embsweep.tracking.registry.load import FetchedVersion

T = TypeVar("T")


def override_gate(recorded: GateConfig, overrides: Mapping[str, Any]) -> GateConfig:
    """Return the recorded rules of the gate with some keys replaced.

    Raises:
        InputError: If the result is invalid, with every diagnostic at `gate.…`.
    """
    return _validate("gate", TypeAdapter(GateConfig), {**recorded.model_dump(), **overrides})


def override_data(recorded: Mapping[str, Any], overrides: Mapping[str, Any]) -> DataConfig:
    """Return the recorded configuration of the data with some keys replaced.

    Raises:
        InputError: If the result is invalid, with every diagnostic at `data.…`.
    """
    adapter: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)
    return _validate("data", adapter, {**recorded, **overrides})


def _validate(part: str, adapter: TypeAdapter[T], values: Mapping[str, Any]) -> T:
    try:
        return adapter.validate_python(dict(values))
    except ValidationError as error:
        raise InputError([_to_diagnostic(part, dict(details), values) for details in error.errors()]) from None


def _to_diagnostic(part: str, details: Mapping[str, Any], values: Mapping[str, Any]) -> Diagnostic:
    loc = [str(step) for step in details["loc"] if step != values.get("kind")]  # pydantic adds the union's member
    location = ".".join([part, *loc])
    if details["type"] == "extra_forbidden":
        known = [key for key in values if key != loc[-1]]
        return Diagnostic(
            "unknown-key", location, "unknown key", details["input"], ", ".join(known), did_you_mean(loc[-1], known)
        )
    violated = details.get("ctx", {}).get("error")
    if isinstance(violated, ConstraintError):
        return Diagnostic(violated.code, location, violated.message, details["input"], violated.expected, violated.hint)
    expected = details.get("ctx", {}).get("expected") or str(details["msg"]).removeprefix("Input should be ")
    return Diagnostic(find_code(details["type"], details["input"]), location, "is invalid", details["input"], expected)


_PATH_KEYS = {"files": "data.pairs", "beir": "data.path"}


@dataclass(frozen=True)
class CandidateVersion:
    """A registered model version: name, number, tags and a local copy of its files."""

    name: str
    number: int
    tags: Mapping[str, str]
    fetched: FetchedVersion


def rebuild_splits(facts: DataRecord, overrides: Mapping[str, Any], cache: Path) -> Splits:
    """Load the sweep's data again and split them in the same way.

    Args:
        facts: The data as recorded in the evidence.
        overrides: Keys of the data configuration to replace, without `data.`.
        cache: The folder of cached data.

    Raises:
        InputError: If the data cannot be loaded; it names the key to set in case they were moved.
    """
    config = override_data(facts.config, overrides)
    try:
        return split_collection(load_collection(config, cache), config.split, config.max_pairs)
    except InputError as error:
        key = _PATH_KEYS.get(config.kind)
        moved = Diagnostic(
            "data-moved",
            "data",
            f"'{facts.name}' cannot be loaded again",
            hint=f"if it was moved, add {key}=…",
        )
        raise InputError([*error.diagnostics, *([moved] if key else [])]) from None


def build_case(
    challenger: CandidateVersion, champion: CandidateVersion | None, splits: Splits, gate: GateConfig
) -> GateInput:
    """Evaluate challenger, base model and champion on the test set, and build the gate's input.

    No model is evaluated if the test set is not the one of the sweep.

    Args:
        challenger: The version to promote.
        champion: The current champion, or None.
        splits: The rebuilt splits.
        gate: The rules of the gate.

    Raises:
        ValueError: If the challenger has no evidence.
    """
    evidence = challenger.fetched.evidence
    if evidence is None:
        raise ValueError("the challenger has no evidence")
    served = champion.fetched.evidence.dims if champion and champion.fetched.evidence else ()
    if splits.fingerprint == evidence.data.fingerprint:
        dims = tuple(sorted({*evidence.dims, *required_dims(gate, evidence, served)}, reverse=True))
        spec = EvaluationSpec(splits.test, dims, evidence.metric, evidence.training.config.eval.batch_size)
        found = _evaluate(challenger, champion, evidence, spec)
    else:
        reason = "not evaluated: this is not the sweep's test set"
        found = dict.fromkeys(("challenger", "base", "champion"), ModelEvaluation(reason_missing=reason))
    return GateInput(
        name=challenger.name,
        rehearsal_tag=challenger.tags.get("embsweep.rehearsal") == "true",
        evidence=evidence,
        gate=gate,
        found_fingerprint=splits.fingerprint,
        groups=label_groups(splits.test.relevant),
        challenger=found["challenger"],
        base=_base_reference(found["challenger"], found.get("base"), evidence),
        champion=_champion_reference(champion, found["champion"], evidence) if champion else None,
    )


def _evaluate(
    challenger: CandidateVersion, champion: CandidateVersion | None, evidence: Evidence, spec: EvaluationSpec
) -> dict[str, ModelEvaluation]:
    """Evaluate the challenger, the champion if there is one, and the base model unless it is not the winner's."""
    wanted: dict[str, RegisteredModel | ModelConfig] = {}
    unavailable: dict[str, ModelEvaluation] = {}
    for name, candidate in (("challenger", challenger), ("champion", champion)):
        if candidate is not None and candidate.fetched.error:
            unavailable[name] = ModelEvaluation(reason_missing=str(candidate.fetched.error))
        elif candidate is not None:
            wanted[name] = RegisteredModel(candidate.fetched.folder, candidate.fetched.manifest_sha256)
    if evidence.training.config.model.name == evidence.base_model:
        wanted["base"] = evidence.training.config.model
    return unavailable | dict(zip(wanted, evaluate_models(list(wanted.values()), spec), strict=True))


def _base_reference(challenger: ModelEvaluation, found: ModelEvaluation | None, evidence: Evidence) -> Reference:
    """Return the base model's evaluation, or the one that the sweep recorded if the model is unavailable here.

    The recorded values can only be used for the same queries in the same order. This is inferred from the challenger:
    its values must equal its own recorded ones.
    """
    label = f"base model {evidence.base_model}"
    if found is not None and not found.reason_missing:
        return Reference(label, found)
    why = found.reason_missing if found is not None else "the winner was trained from another model"
    recorded, ours = evidence.test[BASE], evidence.test[WINNER].per_query
    same = all(
        dim in challenger.values and np.allclose(challenger.values[dim], values, atol=challenger.tolerance)
        for dim, values in ours.items()
    )
    if not same:
        return Reference(label, ModelEvaluation(reason_missing=f"{label}: {why}; its record cannot be used"))
    device = evidence.verification.device
    evaluation = ModelEvaluation(recorded.scores, recorded.per_query, max(recorded.scores), device)
    return Reference(label, evaluation, note="scores recorded by the sweep; the model is unavailable")


def _champion_reference(champion: CandidateVersion, found: ModelEvaluation, evidence: Evidence) -> Reference:
    """Return the champion's evaluation with the dimensions at which it was evaluated: they are in use."""
    theirs = champion.fetched.evidence
    same = theirs is not None and theirs.data.fingerprint == evidence.data.fingerprint
    note = "" if same else "it comes from another split and may have been trained on these queries"
    return Reference(f"champion (version {champion.number})", found, theirs.dims if theirs else (), note)
