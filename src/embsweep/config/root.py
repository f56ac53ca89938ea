"""The whole configuration, the checks across its parts, and the diagnostics of an invalid one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from embsweep.config.base import ConstraintError, FrozenModel
from embsweep.config.data import DataConfig
from embsweep.config.sweep import (
    AuditConfig,
    ConfirmConfig,
    GateConfig,
    RunnerConfig,
    ScaleConfig,
    SearchConfig,
    StoppingConfig,
    StorageConfig,
    SweepConfig,
    TrackingConfig,
)
from embsweep.config.training import (
    EvalConfig,
    LossConfig,
    MatryoshkaConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    TrialConfig,
)
from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError, did_you_mean

_LISTED = 50
_MOST_EVALUATIONS = 10_000
DATA_KINDS = ("docstrings", "files", "beir", "hub")
_WANTED = {
    "float_type": "a number",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "bool_type": "true or false",
    "string_type": "text",
    "tuple_type": "a list, such as [1, 2]",
    "dict_type": "a mapping, such as {64: 1}",
    "model_type": "keys with values",
    "model_attributes_type": "keys with values",
}
"""Type of a pydantic error → the accepted value, in terms of YAML."""

_RANGES = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"})
_LENGTHS: dict[str, Code] = {"too_long": "too-many", "too_short": "empty", "string_too_short": "empty"}


class Config(FrozenModel):
    """One composed configuration: a sweep, with the values of one point of its search space."""

    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    matryoshka: MatryoshkaConfig
    train: TrainConfig
    eval: EvalConfig
    objective: ObjectiveConfig
    search: SearchConfig
    stopping: StoppingConfig
    audit: AuditConfig
    confirm: ConfirmConfig
    gate: GateConfig
    runner: RunnerConfig
    tracking: TrackingConfig
    scale: ScaleConfig
    storage: StorageConfig
    sweep: SweepConfig

    @property
    def trial(self) -> TrialConfig:
        """The part of the configuration that one trial needs."""
        return TrialConfig(**{name: getattr(self, name) for name in TrialConfig.model_fields})


def build_config(values: Mapping[str, Any]) -> Config:
    """Build the configuration from plain values.

    Raises:
        InputError: If values are invalid. It has a diagnostic with the dotted key of each (50 at most, and the number
            of the others).
    """
    try:
        config = Config.model_validate(dict(values))
    except ValidationError as error:
        raise InputError(_to_diagnostics(_own_errors(error), values)) from None
    return config


def _to_diagnostics(errors: Sequence[ErrorDetails], values: Mapping[str, Any]) -> list[Diagnostic]:
    """Convert the first `_LISTED` errors and count the others: a list of a wrong type has one for every element."""
    diagnostics = [_to_diagnostic(details, values) for details in errors[:_LISTED]]
    more = len(errors) - len(diagnostics)
    return [
        *diagnostics,
        *([Diagnostic("more-faults", "the configuration", f"and {more:,} more errors")] if more else []),
    ]


def _own_errors(error: ValidationError) -> list[ErrorDetails]:
    """Drop errors that follow from another one: a list whose only element is invalid also counts as empty."""
    found = error.errors()
    outer = {details["loc"][:length] for details in found for length in range(len(details["loc"]))}
    return [details for details in found if details["loc"] not in outer]


def check_trainable(config: Config) -> list[Diagnostic]:
    """Return diagnostics of conflicting parts that matter only if trials are trained."""
    hint = f"for example matryoshka=from_{config.model.dim}" if config.model.dim in (384, 768) else None
    trained = _check_dims("matryoshka.dims", config.matryoshka.dims, config.model, hint)
    measured = [*check_measurable(config), *_check_schedule(config)]
    return [*trained, *measured, *_check_loss(config), *_check_static(config)]


def check_measurable(config: Config) -> list[Diagnostic]:
    """Return diagnostics of conflicting parts that matter if a model is evaluated, trained or not."""
    return [*_check_dims("eval.dims", config.eval.dims or (), config.model), *_check_objective(config)]


def _check_dims(where: str, dims: tuple[int, ...], model: ModelConfig, hint: str | None = None) -> Iterator[Diagnostic]:
    too_large = [d for d in dims if d > model.dim]
    if too_large:
        problem = f"{too_large[0]} is larger than the {model.dim} dimensions of model '{model.name}'"
        yield Diagnostic("out-of-range", where, problem, list(dims), f"dimensions up to {model.dim}", hint)


def _check_objective(config: Config) -> Iterator[Diagnostic]:
    measured = config.trial.eval_dims
    named = {
        "objective.dim_weights": config.objective.dim_weights,
        "objective.floors": config.objective.floors,
        "gate.dims": config.gate.dims,
    }
    for key, dims in named.items():
        for dim in dims or ():
            if dim not in measured:
                yield Diagnostic(
                    "not-evaluated", f"{key}.{dim}", "this dimension is not evaluated", dim, f"one of {list(measured)}"
                )


def _check_schedule(config: Config) -> Iterator[Diagnostic]:
    if config.eval.per_epoch is None:
        return
    count = config.train.epochs * config.eval.per_epoch
    if count > _MOST_EVALUATIONS:
        problem = f"with train.epochs={config.train.epochs:g} every trial would be evaluated {count:,.0f} times"
        yield Diagnostic(
            "too-many", "eval.per_epoch", problem, config.eval.per_epoch, f"at most {_MOST_EVALUATIONS:,} times in all"
        )


def _check_loss(config: Config) -> Iterator[Diagnostic]:
    if config.loss.name == "cached_mnrl" and config.model.kind == "static":
        yield Diagnostic(
            "conflict", "loss", "cached_mnrl has nothing to cache in model 'static'", "cached_mnrl", "mnrl", "loss=mnrl"
        )
    if config.loss.name == "cached_mnrl" and config.train.gradient_checkpointing is True:
        yield Diagnostic(
            "conflict",
            "train.gradient_checkpointing",
            "cannot be combined with loss=cached_mnrl",
            True,
            "false or auto, or loss=mnrl",
        )


def _check_static(config: Config) -> Iterator[Diagnostic]:
    """Report settings that have no effect on a table of token embeddings: it has no layers."""
    if config.model.kind != "static":
        return
    if config.train.attention != "auto":
        yield Diagnostic(
            "no-effect", "train.attention", "model 'static' has no attention", config.train.attention, "auto"
        )
    if config.train.gradient_checkpointing is True:
        yield Diagnostic(
            "no-effect",
            "train.gradient_checkpointing",
            "model 'static' has nothing to recompute",
            True,
            "false or auto",
        )


def _to_diagnostic(details: ErrorDetails, values: Mapping[str, Any]) -> Diagnostic:
    loc = tuple(str(part) or "''" for part in details["loc"] if part != "[key]")
    if len(loc) > 1 and loc[0] == "data" and loc[1] in DATA_KINDS:
        loc = (loc[0], *loc[2:])  # pydantic puts the chosen union member into the path
    where = ".".join(loc) or "the configuration"
    if details["type"] == "extra_forbidden":
        siblings = _siblings(details, values)
        return Diagnostic(
            "unknown-key", where, "unknown key", expected=", ".join(siblings), hint=did_you_mean(loc[-1], siblings)
        )
    if details["type"] == "missing":
        return Diagnostic("missing-value", where, "is missing")
    if details["type"] == "union_tag_invalid":
        tag = str(details["ctx"]["tag"])
        return Diagnostic(
            "unknown-option",
            f"{where}.kind",
            "unknown kind of data",
            tag,
            ", ".join(DATA_KINDS),
            did_you_mean(tag, DATA_KINDS),
        )
    violation = details.get("ctx", {}).get("error")
    if isinstance(violation, ConstraintError):
        place = f"{where}.{violation.key}" if violation.key else where
        value = details["input"] if violation.key is None and violation.value is None else violation.value
        return Diagnostic(violation.code, place, violation.message, value, violation.expected, violation.hint)
    return _to_plain_diagnostic(where, details)


def _to_plain_diagnostic(where: str, details: ErrorDetails) -> Diagnostic:
    """Convert pydantic's error about a single value."""
    value, message, kind = details["input"], details["msg"], details["type"]
    if kind == "too_short":
        return Diagnostic("empty", where, "is empty", value, "at least one element")
    if kind == "literal_error":
        options = str(details["ctx"]["expected"])
        names = options.replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(value, names) if isinstance(value, str) else None
        return Diagnostic("unknown-option", where, "unknown value", value, options, hint)
    expected = _WANTED.get(kind) or message.removeprefix("Input should be ")
    problem = "is null" if value is None else "is invalid"
    return Diagnostic(find_code(kind, value), where, problem, value, expected)


def find_code(kind: str, value: object) -> Code:
    """Return the code for pydantic's error about a single value; `kind` is the type of the error."""
    if value is None:
        return "missing-value"
    if kind in _RANGES:
        return "out-of-range"
    return "unknown-option" if kind == "literal_error" else _LENGTHS.get(kind, "wrong-type")


def _siblings(details: ErrorDetails, values: Mapping[str, Any]) -> list[str]:
    """Return the accepted keys of the part that contains the unknown key."""
    model: Any = Config
    for step in details["loc"][:-1]:
        if str(step) in DATA_KINDS and model is not Config:
            continue
        field = model.model_fields[str(step)]
        model = field.annotation if hasattr(field.annotation, "model_fields") else _data_model(values)
    return sorted(model.model_fields)


def _data_model(values: Mapping[str, Any]) -> type[FrozenModel]:
    from embsweep.config import data as source

    kind = str(values["data"]["kind"])
    found: type[FrozenModel] = getattr(source, f"{kind.capitalize()}Config")
    return found
