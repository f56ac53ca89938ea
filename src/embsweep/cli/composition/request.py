"""Build the request of a sweep from a command line that Hydra can compose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from embsweep.cli.composition.compose import compose, compose_point, group_options, resolve_partially, to_values
from embsweep.cli.composition.overrides import all_keys
from embsweep.cli.composition.search_space import parse_space
from embsweep.cli.composition.validation import read_space
from embsweep.cli.paths import default_storage
from embsweep.config.search_space import Choice, Dimension, Space, Value, contains, to_override
from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.sweep.request import SweepRequest

EMPTY_SPACE = Diagnostic(
    "nothing-to-search",
    "hydra.sweeper.params",
    "there is nothing to search: every key is fixed",
    hint="sweep a key (train.learning_rate=1e-5,3e-5), or run one trial (hydra.mode=RUN)",
)
_SEARCHABLE = ("model", "loss", "matryoshka", "train", "eval")
"""Groups whose keys may differ between trials. Trials on other data or with another objective are not comparable."""


def read_request(loader: ConfigLoader, arguments: Sequence[str], command: str) -> SweepRequest:
    """Build the request as `parse_request` does.

    Args:
        loader: Hydra's loader; see `config_loader`.
        arguments: Overrides of the command line.
        command: The command line that resumes the sweep.

    Raises:
        InputError: If the command line or the search space are invalid, with all diagnostics.
    """
    request, diagnostics = parse_request(loader, arguments, command)
    if diagnostics:
        raise InputError(diagnostics)
    return request


def parse_request(
    loader: ConfigLoader, arguments: Sequence[str], command: str
) -> tuple[SweepRequest, tuple[Diagnostic, ...]]:
    """Compose the recipe and parse the search space.

    The space is the preset's `hydra.sweeper.params`; a sweep on the command line replaces the entry of its key, and a
    fixed value removes it.

    Args:
        loader: Hydra's loader; see `config_loader`.
        arguments: Overrides of the command line.
        command: The command line that resumes the sweep.

    Returns:
        The request, whose space has only the valid dimensions, and the diagnostics of the others. If an interpolation
        cannot be resolved, the space is empty.

    Raises:
        InputError: If the configuration cannot be read.
    """
    parser = OverridesParser.create(config_loader=loader)
    given = parser.parse_overrides(list(arguments))
    fixed = [str(override.input_line) for override in given if not override.is_sweep_override()]
    tree = compose(loader, fixed)
    space, diagnostics = _build_space(loader, tree, parser, given)

    def compose_values(point: Mapping[str, Value]) -> Mapping[str, Any]:
        return to_values(compose_point(loader, fixed, [to_override(key, value) for key, value in point.items()]))

    recipe = {d.key: v for d in space if (v := _recipe_value(tree, d, parser)) is not None and contains(d, v)}
    values, unresolved = resolve_partially(tree)
    if unresolved:  # every point of the space would report it again
        space, recipe = (), {}
    request = SweepRequest(values, space, recipe, compose_values, command, default_storage())
    return request, (*diagnostics, *unresolved)


def _build_space(
    loader: ConfigLoader, tree: DictConfig, parser: OverridesParser, given: Sequence[Override]
) -> tuple[Space, list[Diagnostic]]:
    swept, diagnostics = _parse_preset(parser, read_space(tree))
    for override in given:
        key = override.get_key_element().lstrip("+")
        swept.pop(key, None)
        if override.is_sweep_override():
            swept[key] = override
    known = all_keys(tree)
    for key in list(swept):
        if key not in known and not group_options(loader, key):
            del swept[key]
            problem, hint = "is neither a key of the configuration nor a group", did_you_mean(key, known)
            diagnostics.append(Diagnostic("unknown-key", f"hydra.sweeper.params.{key}", problem, hint=hint))
        elif key.split(".")[0] not in _SEARCHABLE or key == "eval.dims":
            text = swept.pop(key).get_value_string()
            expected = f"one value; keys of {', '.join(_SEARCHABLE)} can be searched"
            diagnostics.append(
                Diagnostic("not-sweepable", key, "is the same for all trials of a sweep", text, expected)
            )
    space: list[Dimension] = []
    for override in swept.values():
        try:
            space.extend(parse_space([override]))
        except InputError as error:
            diagnostics.extend(error.diagnostics)
    if not space and not diagnostics:
        diagnostics.append(EMPTY_SPACE)
    return tuple(space), diagnostics


def _parse_preset(parser: OverridesParser, params: dict[str, Any]) -> tuple[dict[str, Override], list[Diagnostic]]:
    swept: dict[str, Override] = {}
    diagnostics: list[Diagnostic] = []
    for key, text in params.items():
        try:
            (swept[key],) = parser.parse_overrides([f"{key}={text}"])  # not parse_override: a glob needs the loader
        except (HydraException, ValueError, ArithmeticError, RecursionError) as error:  # also if the grammar accepts it
            diagnostics.append(
                Diagnostic("bad-space", f"hydra.sweeper.params.{key}", "cannot be read", text, hint=_first_line(error))
            )
    return swept, diagnostics


def _recipe_value(tree: DictConfig, dimension: Dimension, parser: OverridesParser) -> Value | None:
    """Return the recipe's value of a swept key in the notation of the space; None if it has no comparable value."""
    choices = tree.hydra.runtime.choices
    value = choices[dimension.key] if dimension.key in choices else _select(tree, dimension.key)
    if not isinstance(dimension, Choice):
        return value if isinstance(value, int | float) and not isinstance(value, bool) else None
    plain = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    same = [o for o in dimension.options if parser.parse_override(f"{dimension.key}={o}").value() == plain]
    return same[0] if same else None


def _select(tree: DictConfig, key: str) -> Any:
    return OmegaConf.select(tree, key, throw_on_resolution_failure=False)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
