"""What a promotion's command line may change: the gate's rule, and where the data lie now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from embsweep.config.base import Misfit
from embsweep.config.machinery import GateConfig
from embsweep.config.root import find_code
from embsweep.config.source import DataConfig
from embsweep.errors import Fault, InputError, did_you_mean

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
