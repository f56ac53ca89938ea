"""The whole configuration, the checks across its parts, and the diagnostics of an invalid one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from embsweep.config.base import ConstraintError, FrozenModel
from embsweep.config.data import BeirConfig, DataConfig, DocstringsConfig, FilesConfig, HubConfig
from embsweep.config.model import ModelConfig
from embsweep.config.sweep import (
    AuditConfig,
    ConfirmConfig,
    GateConfig,
    ReportConfig,
    RunnerConfig,
    ScaleConfig,
    SearchConfig,
    StoppingConfig,
    StorageConfig,
    SweepConfig,
)
from embsweep.config.tracking import TrackingConfig
from embsweep.config.training import (
    EvalConfig,
    LossConfig,
    MatryoshkaConfig,
    ObjectiveConfig,
    TrainConfig,
    TrialConfig,
)
from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError, did_you_mean

_LISTED = 50
_MOST_EVALUATIONS = 10_000
_SOURCES: Mapping[str, type[FrozenModel]] = {
    "docstrings": DocstringsConfig,
    "files": FilesConfig,
    "beir": BeirConfig,
    "hub": HubConfig,
}
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

_CODES: Mapping[str, Code] = {
    "greater_than": "out-of-range",
    "greater_than_equal": "out-of-range",
    "less_than": "out-of-range",
    "less_than_equal": "out-of-range",
    "finite_number": "out-of-range",
    "literal_error": "unknown-option",
    "too_long": "too-many",
    "too_short": "empty",
    "string_too_short": "empty",
}
"""Type of a pydantic error → its code, if that is not `wrong-type`."""


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
    report: ReportConfig
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
        return Config.model_validate(dict(values))
    except ValidationError as error:
        found = _own_errors(error)
    diagnostics = [_to_diagnostic(details) for details in found[:_LISTED]]
    if len(found) > _LISTED:  # a list of a wrong type has an error for every element
        diagnostics.append(Diagnostic("more-faults", "the configuration", f"and {len(found) - _LISTED:,} more errors"))
    raise InputError(diagnostics)


def _own_errors(error: ValidationError) -> list[ErrorDetails]:
    """Drop errors that follow from another one: a list whose only element is invalid also counts as empty."""
    found = error.errors()
    outer = {details["loc"][:length] for details in found for length in range(len(details["loc"]))}
    return [details for details in found if details["loc"] not in outer]


def check_trainable(config: Config) -> list[Diagnostic]:
    """Return diagnostics of conflicting parts that matter only if trials are trained."""
    model, train, per_epoch = config.model, config.train, config.eval.per_epoch
    hint = f"for example matryoshka=from_{model.dim}" if model.dim in (384, 768) else None
    count = train.epochs * (per_epoch or 0)
    is_static, is_cached = model.kind == "static", config.loss.name == "cached_mnrl"
    recomputes = train.gradient_checkpointing is True
    rules = (
        (
            count > _MOST_EVALUATIONS,
            Diagnostic(
                "too-many",
                "eval.per_epoch",
                f"with train.epochs={train.epochs:g} every trial would be evaluated {count:,.0f} times",
                per_epoch,
                f"at most {_MOST_EVALUATIONS:,} times in all",
            ),
        ),
        (
            is_cached and is_static,
            Diagnostic(
                "conflict",
                "loss",
                "cached_mnrl has nothing to cache in model 'static'",
                "cached_mnrl",
                "mnrl",
                "loss=mnrl",
            ),
        ),
        (
            is_cached and recomputes,
            Diagnostic(
                "conflict",
                "train.gradient_checkpointing",
                "cannot be combined with loss=cached_mnrl",
                True,
                "false or auto, or loss=mnrl",
            ),
        ),
        (
            is_static and train.attention != "auto",
            Diagnostic("no-effect", "train.attention", "model 'static' has no attention", train.attention, "auto"),
        ),
        (
            is_static and recomputes,
            Diagnostic(
                "no-effect",
                "train.gradient_checkpointing",
                "model 'static' has nothing to recompute",
                True,
                "false or auto",
            ),
        ),
    )
    trained = _check_dims("matryoshka.dims", config.matryoshka.dims, model, hint)
    conflicts = (diagnostic for applies, diagnostic in rules if applies)
    return [*trained, *check_measurable(config), *_check_schedules(config), *conflicts]


def _check_schedules(config: Config) -> list[Diagnostic]:
    """Return a diagnostic if the limit in full schedules lets no trial start."""
    schedules, least, why = config.search.schedules, 1, ""
    if config.stopping.kind == "promotion":
        least = min(config.confirm.finalists + config.search.recipe_first, config.search.trials)
        why = ": whole schedules of the recipe and of confirm.finalists" if least > 1 else ""
    if schedules is None or schedules >= least:
        return []
    accepted = f"null, or at least {least}{why}"
    return [Diagnostic("out-of-range", "search.schedules", "no trial could start", schedules, accepted)]


def check_measurable(config: Config) -> list[Diagnostic]:
    """Return diagnostics of conflicting parts that matter if a model is evaluated, trained or not."""
    measured = config.trial.eval_dims
    named = {
        "objective.dim_weights": config.objective.dim_weights,
        "objective.floors": config.objective.floors,
        "gate.dims": config.gate.dims,
    }
    return [
        *_check_dims("eval.dims", config.eval.dims or (), config.model),
        *(
            Diagnostic(
                "not-evaluated", f"{key}.{dim}", "this dimension is not evaluated", dim, f"one of {list(measured)}"
            )
            for key, dims in named.items()
            for dim in dims or ()
            if dim not in measured
        ),
    ]


def _check_dims(where: str, dims: tuple[int, ...], model: ModelConfig, hint: str | None = None) -> list[Diagnostic]:
    """Report the first dimension that the model does not have."""
    problems = [f"{d} is larger than the {model.dim} dimensions of model '{model.name}'" for d in dims if d > model.dim]
    return [
        Diagnostic("out-of-range", where, problem, list(dims), f"dimensions up to {model.dim}", hint)
        for problem in problems[:1]
    ]


def _to_diagnostic(details: ErrorDetails) -> Diagnostic:
    loc = tuple(str(part) or "''" for part in details["loc"] if part != "[key]")
    if len(loc) > 1 and loc[0] == "data" and loc[1] in _SOURCES:
        loc = (loc[0], *loc[2:])  # pydantic puts the chosen union member into the path
    where = ".".join(loc) or "the configuration"
    context = details.get("ctx", {})
    violation = context.get("error")
    if isinstance(violation, ConstraintError):
        place = f"{where}.{violation.key}" if violation.key else where
        value = details["input"] if violation.key is None and violation.value is None else violation.value
        return Diagnostic(violation.code, place, violation.message, value, violation.expected, violation.hint)
    match details["type"]:
        case "extra_forbidden":
            siblings = _siblings(details)
            hint = did_you_mean(loc[-1], siblings)
            return Diagnostic("unknown-key", where, "unknown key", expected=", ".join(siblings), hint=hint)
        case "missing":
            return Diagnostic("missing-value", where, "is missing")
        case "union_tag_invalid":
            tag, hint = str(context["tag"]), did_you_mean(str(context["tag"]), _SOURCES)
            return Diagnostic("unknown-option", f"{where}.kind", "unknown kind of data", tag, ", ".join(_SOURCES), hint)
    return _to_plain_diagnostic(where, details)


_SEARCHED = ("loss", "matryoshka", "model", "train")
"""Groups of keys whose values are often meant as options of a search if they are a list by mistake."""


def _to_plain_diagnostic(where: str, details: ErrorDetails) -> Diagnostic:
    """Convert pydantic's error about a single value."""
    value, kind = details["input"], details["type"]
    if kind == "too_short":
        return Diagnostic("empty", where, "is empty", value, "at least one element")
    if kind == "literal_error":
        options = str(details["ctx"]["expected"])
        names = options.replace("'", "").replace(" or ", ", ").split(", ")
        hint = did_you_mean(value, names) if isinstance(value, str) else None
        return Diagnostic("unknown-option", where, "unknown value", value, options, hint)
    expected = _WANTED.get(kind) or details["msg"].removeprefix("Input should be ")
    problem = "is null" if value is None else "is invalid"
    is_list = isinstance(value, list) and len(value) > 1 and where.partition(".")[0] in _SEARCHED
    hint = f"to search them: {where}={','.join(map(str, value))}" if is_list else None
    return Diagnostic(find_code(kind, value), where, problem, value, expected, hint)


def find_code(kind: str, value: object) -> Code:
    """Return the code for pydantic's error about a single value; `kind` is the type of the error."""
    return "missing-value" if value is None else _CODES.get(kind, "wrong-type")


def _siblings(details: ErrorDetails) -> list[str]:
    """Return the accepted keys of the part that contains the unknown key."""
    model: Any = Config
    for step in map(str, details["loc"][:-1]):
        field = _SOURCES.get(step) or model.model_fields[step].annotation
        model = next(part for part in (field, *get_args(field)) if hasattr(part, "model_fields"))  # X of X | None
    return sorted(model.model_fields)
