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

from embsweep.config.base import Misfit
from embsweep.config.data import DataConfig
from embsweep.config.root import find_code
from embsweep.config.sweep import GateConfig
from embsweep.config.training import ModelConfig
from embsweep.core.errors import Fault, InputError, did_you_mean
from embsweep.data.collection import Splits
from embsweep.data.groups import label_groups
from embsweep.data.sources.load import load_collection
from embsweep.data.splits import split_collection
from embsweep.promotion.evaluate import Measure, Stored, reread_models
from embsweep.selection.evidence import BASE, WINNER, DataFacts, Evidence
from embsweep.selection.gate import Case, Reading, Rival, required_dims
from embsweep.tracking.registry.load import Fetched

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
        raise InputError([_to_fault(part, dict(details), values) for details in error.errors()]) from None


def _to_fault(part: str, details: Mapping[str, Any], values: Mapping[str, Any]) -> Fault:
    loc = [str(step) for step in details["loc"] if step != values.get("kind")]  # pydantic names the union's member
    where = ".".join([part, *loc])
    if details["type"] == "extra_forbidden":
        known = [key for key in values if key != loc[-1]]
        return Fault(
            "unknown-key", where, "unknown key", details["input"], ", ".join(known), did_you_mean(loc[-1], known)
        )
    misfit = details.get("ctx", {}).get("error")
    if isinstance(misfit, Misfit):
        return Fault(misfit.code, where, misfit.problem, details["input"], misfit.accepted, misfit.fix)
    accepted = details.get("ctx", {}).get("expected") or str(details["msg"]).removeprefix("Input should be ")
    return Fault(find_code(details["type"], details["input"]), where, "does not fit", details["input"], accepted)


_PATH_KEYS = {"files": "data.pairs", "beir": "data.path"}


@dataclass(frozen=True)
class Candidate:
    """A version of the registry: name, number, tags and the fetched files."""

    name: str
    number: int
    tags: Mapping[str, str]
    fetched: Fetched


def rebuild_splits(facts: DataFacts, overrides: Mapping[str, Any], cache: Path) -> Splits:
    """The split that the sweep used, read and cut again. InputError, with the key to give, where data are gone."""
    config = override_data(facts.config, overrides)
    try:
        return split_collection(load_collection(config, cache), config.split, config.max_pairs)
    except InputError as error:
        key = _PATH_KEYS.get(config.kind)
        moved = Fault(
            "data-moved", "data", f"'{facts.name}' cannot be read as the sweep did", fix=f"if it was moved, add {key}=…"
        )
        raise InputError([*error.faults, *([moved] if key else [])]) from None


def build_case(challenger: Candidate, champion: Candidate | None, splits: Splits, rule: GateConfig) -> Case:
    """Read challenger, base and champion on the test set; on another one than the sweep's nobody is read.

    The challenger must have its evidence.
    """
    evidence = challenger.fetched.evidence
    if evidence is None:
        raise ValueError("a version without evidence cannot be judged")
    served = _served(champion)
    case = Case(
        name=challenger.name,
        rehearsal_tag=challenger.tags.get("embsweep.rehearsal") == "true",
        evidence=evidence,
        rule=rule,
        found_fingerprint=splits.fingerprint,
        groups=label_groups(splits.test.relevant),
        challenger=Reading(fault="not read: this is not the sweep's test set"),
        base=Rival(f"base model {evidence.base_model}", Reading(fault="not read")),
        champion=_unread_champion(champion, evidence),
    )
    if splits.fingerprint != evidence.data.fingerprint:
        return case
    dims = tuple(sorted({*evidence.dims, *required_dims(rule, evidence, served)}, reverse=True))
    measure = Measure(splits.test, dims, evidence.metric, evidence.training.config.eval.batch_size)
    return _read(case, challenger, champion, measure)


def _read(case: Case, challenger: Candidate, champion: Candidate | None, measure: Measure) -> Case:
    evidence = case.evidence
    wanted: dict[str, Stored | ModelConfig] = {}
    faults: dict[str, Reading] = {}
    for name, candidate in (("challenger", challenger), ("champion", champion)):
        if candidate is not None and candidate.fetched.fault:
            faults[name] = Reading(fault=str(candidate.fetched.fault))
        elif candidate is not None:
            wanted[name] = Stored(candidate.fetched.folder, candidate.fetched.manifest_sha256)
    if evidence.training.config.model.name == evidence.base_model:
        wanted["base"] = evidence.training.config.model
    found = faults | dict(zip(wanted, reread_models(list(wanted.values()), measure), strict=True))
    base = _or_recorded(case.base, found.get("base"), found["challenger"], evidence)
    rival = case.champion and dataclasses.replace(case.champion, reading=found["champion"])
    return dataclasses.replace(case, challenger=found["challenger"], base=base, champion=rival)


def _or_recorded(rival: Rival, found: Reading | None, challenger: Reading, evidence: Evidence) -> Rival:
    """The base model as read now, or as the sweep read it where it cannot be had here.

    What was recorded of each query serves only if it is about the same queries in the same order: then the
    challenger's own values are the recorded ones.
    """
    if found is not None and not found.fault:
        return dataclasses.replace(rival, reading=found)
    why = found.fault if found is not None else "the winner was trained from another model"
    recorded, ours = evidence.test[BASE], evidence.test[WINNER].per_query
    same = all(
        dim in challenger.values and np.allclose(challenger.values[dim], values, atol=challenger.tolerance)
        for dim, values in ours.items()
    )
    if not same:
        return dataclasses.replace(rival, reading=Reading(fault=f"{rival.label} {why}, and its record does not fit"))
    reading = Reading(recorded.scores, recorded.per_query, max(recorded.scores), evidence.proof.device)
    return dataclasses.replace(rival, reading=reading, note="as the sweep read it, for it is not to be had here")


def _unread_champion(champion: Candidate | None, evidence: Evidence) -> Rival | None:
    if champion is None:
        return None
    theirs = champion.fetched.evidence
    same = theirs is not None and theirs.data.fingerprint == evidence.data.fingerprint
    note = "" if same else "it comes from another split and may have been trained on these queries"
    return Rival(f"champion (version {champion.number})", Reading(fault="not read"), _served(champion), note)


def _served(champion: Candidate | None) -> tuple[int, ...]:
    """Dimensions at which the champion was evaluated: they are in use."""
    evidence = champion.fetched.evidence if champion else None
    return evidence.dims if evidence else ()
