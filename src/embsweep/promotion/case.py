"""Build the gate's input for a registered challenger: rebuild the test set and evaluate all models on it.

The command line of a promotion may override the recorded rules of the gate and the location of the data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from embsweep.config.base import ConstraintError
from embsweep.config.data import DataConfig
from embsweep.config.model import ModelConfig
from embsweep.config.root import find_code
from embsweep.config.sweep import GateConfig
from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.core.subprocess import run_in_subprocess
from embsweep.data.collection import RetrievalSet, Splits
from embsweep.data.groups import label_groups
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import split_collection
from embsweep.promotion.evaluate import evaluate_models
from embsweep.selection.evidence import BASE, WINNER, DataRecord, Evidence
from embsweep.selection.gate_input import GateInput, ModelEvaluation, Reference, required_dims
from embsweep.tracking.registry.load import FetchedVersion
from embsweep.training.verification import device_tolerance

T = TypeVar("T")


_DATA: TypeAdapter[DataConfig] = TypeAdapter(DataConfig)


def override(
    part: str, validate: Callable[[object], T], recorded: Mapping[str, Any], overrides: Mapping[str, Any]
) -> T:
    """Return a recorded part of the configuration with some keys replaced.

    Args:
        part: Name of the part: `gate` or `data`.
        validate: Builds the part from its values, with pydantic.
        recorded: Values that the sweep recorded.
        overrides: Values of the keys to replace.

    Raises:
        InputError: If the result is invalid, with every diagnostic at `gate.…` or `data.…`.
    """
    values = {**recorded, **overrides}
    try:
        return validate(values)
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
    config = override("data", _DATA.validate_python, facts.config, overrides)
    try:
        return split_collection(load_collection(config, cache), config.split, config.max_pairs)
    except InputError as error:
        if key := _PATH_KEYS.get(config.kind):
            problem, hint = (
                f"'{facts.name}' cannot be loaded again",
                f"if it was moved, add {_list_moved(facts.config, key)}",
            )
            raise InputError([*error.diagnostics, Diagnostic("data-moved", "data", problem, hint=hint)]) from None
        raise


def _list_moved(config: Mapping[str, Any], key: str) -> str:
    """Return the overrides that name the places of the data: `key`, and the further files of the configuration."""
    further = (f"data.{name}" for name in ("validation_pairs", "test_pairs", "corpus") if config.get(name))
    return " ".join(f"{name}=…" for name in (key, *further))


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
        found = _evaluate(challenger, champion, evidence, splits.test, dims)
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
    challenger: CandidateVersion,
    champion: CandidateVersion | None,
    evidence: Evidence,
    data: RetrievalSet,
    dims: tuple[int, ...],
) -> dict[str, ModelEvaluation]:
    """Evaluate the challenger, the champion if there is one, and the base model unless it is not the winner's."""
    trial = evidence.training.config
    models: dict[str, FetchedVersion | ModelConfig] = {"challenger": challenger.fetched}
    if champion is not None:
        models["champion"] = champion.fetched
    if trial.model.name == evidence.base_model:
        models["base"] = trial.model
    found = run_in_subprocess(evaluate_models, models, data, dims, evidence.metric, trial.eval.batch_size)
    own = found["challenger"]
    if own.reason_missing is None:
        tolerance = device_tolerance(own.device, evidence.verification.device)
        found["challenger"] = replace(own, tolerance=tolerance)
    return found


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
    evaluation = ModelEvaluation(
        recorded.scores, recorded.per_query, max(recorded.scores), evidence.verification.device
    )
    return Reference(label, evaluation, note="scores recorded by the sweep; the model is unavailable")


def _champion_reference(champion: CandidateVersion, found: ModelEvaluation, evidence: Evidence) -> Reference:
    """Return the champion's evaluation with the dimensions at which it was evaluated: they are in use."""
    theirs = champion.fetched.evidence
    same = theirs is not None and theirs.data.fingerprint == evidence.data.fingerprint
    note = "" if same else "it comes from another split and may have been trained on these queries"
    return Reference(f"champion (version {champion.number})", found, theirs.dims if theirs else (), note)
