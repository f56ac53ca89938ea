"""Build the request of a sweep from the overrides of a command line."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode

from embsweep.cli.composition.compose import group_options, resolve_partially
from embsweep.cli.composition.credentials import check_credentials
from embsweep.cli.composition.overrides import (
    UNREADABLE,
    CommandLine,
    all_keys,
    parse_command_line,
    unknown_options,
    without_plus,
)
from embsweep.cli.composition.points import build_space
from embsweep.cli.composition.search_space import parse_dimension
from embsweep.cli.composition.validation import SPACE, first_line, read_space, refuse
from embsweep.cli.paths import default_storage
from embsweep.config.search_space import Dimension, SearchSpace, Value
from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.sweep.request import SweepRequest

_SEARCHABLE = ("model", "loss", "matryoshka", "train", "eval")
"""Groups whose keys may differ between trials. Trials on other data or with another objective are not comparable."""


def read_request(loader: ConfigLoader, lines: Sequence[str], command: str) -> SweepRequest:
    """Build the request as `parse_request` does.

    Args:
        loader: Hydra's loader; see `config_loader`.
        lines: Overrides of the command line.
        command: The command line that resumes the sweep.

    Raises:
        InputError: If the command line or the search space are invalid, with all diagnostics.
    """
    request, diagnostics = parse_request(loader, lines, command)
    if diagnostics:
        raise InputError(diagnostics)
    return request


def parse_request(
    loader: ConfigLoader, lines: Sequence[str], command: str
) -> tuple[SweepRequest, tuple[Diagnostic, ...]]:
    """Compose the recipe and every combination of swept group options, and parse the search space.

    The space is the preset's `hydra.sweeper.params`; a sweep on the command line replaces the entry of its key, and a
    fixed value removes it. With `hydra.mode=RUN` there is no space, and the request is for one trial.

    Args:
        loader: Hydra's loader; see `config_loader`.
        lines: Overrides of the command line.
        command: The command line that resumes the sweep.

    Returns:
        The request, whose space has only the valid dimensions, and the diagnostics of the others. If an interpolation
        cannot be resolved, the space is empty.

    Raises:
        InputError: If the configuration cannot be read.
    """
    line = parse_command_line(loader, lines)
    try:
        values, unresolved = resolve_partially(line.tree)
        refused = [*line.diagnostics, *check_credentials(values, {without_plus(override) for override in line.valid})]
        if line.tree.hydra.mode is RunMode.RUN:
            return single_request(values, command), (*refused, *unresolved, *_validate_single(line))
        parser = OverridesParser.create(config_loader=loader)
        dimensions, found = _parse_dimensions(loader, parser, line)
    except InputError as error:
        raise InputError([*line.diagnostics, *error.diagnostics]) from None
    diagnostics = [*refused, *found, *unresolved]
    space, recipe = SearchSpace(), dict[str, Value]()
    if not unresolved:  # every point of the space would report it again
        try:
            space, recipe = build_space(loader, parser, line, values, dimensions)
        except InputError as error:
            diagnostics.extend(error.diagnostics)
    if not dimensions and not diagnostics:
        diagnostics.append(
            Diagnostic(
                "nothing-to-search",
                SPACE,
                "there is nothing to search: every key is fixed",
                hint="sweep a key (train.learning_rate=1e-5,3e-5), or run one trial (hydra.mode=RUN)",
            )
        )
    return SweepRequest(values, space, recipe, command, default_storage()), tuple(diagnostics)


def _validate_single(line: CommandLine) -> list[Diagnostic]:
    return [
        Diagnostic(
            "not-sweepable", o.key_or_group, "cannot be swept with hydra.mode=RUN", o.get_value_string(), "one value"
        )
        for o in line.swept
    ]


def single_request(values: dict[str, Any], command: str) -> SweepRequest:
    """Build the request of a sweep with an empty space and one trial.

    Its name ends in a hash of the parts of the configuration that determine the trial's result.
    """
    content = {key: values[key] for key in ("model", "data", "loss", "matryoshka", "train", "eval", "objective")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    sweep = {**values["sweep"], "name": f"{values['sweep']['name']}-{digest}"}
    alone = {**values, "sweep": sweep, "search": {**values["search"], "trials": 1}}
    return SweepRequest(alone, SearchSpace(), {}, command, default_storage())


def _parse_dimensions(
    loader: ConfigLoader, parser: OverridesParser, line: CommandLine
) -> tuple[list[Dimension], list[Diagnostic]]:
    preset, diagnostics = _parse_preset(parser, read_space(line.tree))
    given = {without_plus(override): override for override in line.valid}
    swept = {key: override for key, override in preset.items() if key not in given}
    swept |= {key: override for key, override in given.items() if override.is_sweep_override()}
    known = all_keys(line.tree)
    dimensions: list[Dimension] = []
    for key, override in swept.items():
        try:
            _require_searchable(loader, key, override, known)
            dimensions.append(parse_dimension(override))
        except InputError as error:
            diagnostics.extend(error.diagnostics)
    return dimensions, diagnostics


def _require_searchable(loader: ConfigLoader, key: str, override: Override, known: Sequence[str]) -> None:
    """Raise InputError if a swept key does not exist, or is the same for all trials, or names an unknown option."""
    options = group_options(loader, key)
    refuse(
        (
            key not in known and not options,
            Diagnostic(
                "unknown-key",
                f"{SPACE}.{key}",
                "is neither a key of the configuration nor a group",
                hint=did_you_mean(key, known),
            ),
        ),
        (
            key.partition(".")[0] not in _SEARCHABLE or key == "eval.dims",
            Diagnostic(
                "not-sweepable",
                key,
                "is the same for all trials of a sweep",
                override.get_value_string(),
                f"one value; keys of {', '.join(_SEARCHABLE)} can be searched",
            ),
        ),
    )
    if options and override.is_sweep_override() and (unknown := unknown_options(override, options)):
        raise InputError(unknown)


def _parse_preset(parser: OverridesParser, params: dict[str, Any]) -> tuple[dict[str, Override], list[Diagnostic]]:
    swept: dict[str, Override] = {}
    diagnostics: list[Diagnostic] = []
    for key, text in params.items():
        try:
            (swept[key],) = parser.parse_overrides([f"{key}={text}"])  # not parse_override: a glob needs the loader
        except UNREADABLE as error:  # also if the grammar accepts it
            is_nested = isinstance(text, dict)  # hydra.sweeper.params.train.epochs=… instead of {train.epochs: …}
            hint = f"write {_unnest(key, text)}" if is_nested else first_line(error)
            diagnostics.append(Diagnostic("bad-space", f"{SPACE}.{key}", "cannot be read", text, hint=hint))
    return swept, diagnostics


def _unnest(key: str, node: Any) -> str:
    while isinstance(node, dict) and node:
        name, node = next(iter(node.items()))
        key = f"{key}.{name}"
    return f"{key}={node}"
