"""Build the request of a sweep from the overrides of a command line."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embsweep.cli.composition.compose import compose, group_options, resolve_partially, to_plain, to_values
from embsweep.cli.composition.overrides import (
    UNREADABLE,
    CommandLine,
    all_keys,
    fixed_lines,
    parse_command_line,
    unknown_options,
    without_plus,
)
from embsweep.cli.composition.search_space import parse_dimension
from embsweep.cli.composition.validation import SPACE, first_line, read_space, refuse
from embsweep.cli.paths import default_storage
from embsweep.config import build_config
from embsweep.config.search_space import (
    Choice,
    Composition,
    Dimension,
    SearchSpace,
    Value,
    boundary_values,
    contains,
    refer,
)
from embsweep.core.errors import Diagnostic, InputError, did_you_mean
from embsweep.sweep.request import SweepRequest

_SEARCHABLE = ("model", "loss", "matryoshka", "train", "eval")
"""Groups whose keys may differ between trials. Trials on other data or with another objective are not comparable."""

_MOST_COMBINATIONS = 256
"""Maximum number of combinations of swept group options: composing one takes a tenth of a second."""


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
        if line.tree.hydra.mode is RunMode.RUN:
            return single_request(values, command), (*line.diagnostics, *unresolved, *_validate_single(line))
        parser = OverridesParser.create(config_loader=loader)
        dimensions, found = _parse_dimensions(loader, parser, line)
    except InputError as error:
        raise InputError([*line.diagnostics, *error.diagnostics]) from None
    diagnostics = [*line.diagnostics, *found, *unresolved]
    space, recipe = SearchSpace(), dict[str, Value]()
    if not unresolved:  # every point of the space would report it again
        try:
            space, recipe = _build_space(loader, parser, line, values, dimensions)
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


def _build_space(
    loader: ConfigLoader,
    parser: OverridesParser,
    line: CommandLine,
    values: dict[str, Any],
    dimensions: Sequence[Dimension],
) -> tuple[SearchSpace, dict[str, Value]]:
    """Return the space, and the recipe's values of its keys without those that are outside their dimension."""
    chosen = line.tree.hydra.runtime.choices
    groups = {d.key: str(chosen[d.key]) for d in dimensions if d.key in chosen}
    options = {d.key: _parse_options(parser, d, values) for d in dimensions if d.key not in groups}
    space = SearchSpace(tuple(dimensions), groups)
    compositions = {
        space.combination(dict(point)): _reduce(tree, values, options)
        for point, tree in _compose_combinations(loader, line, space)
    }
    space = replace(space, compositions=compositions)
    unused = {name: _find_inactive(space, values, name) for name in compositions}
    never_used = frozenset.intersection(*unused.values())  # an error of the command line
    inactive = {name: tuple(sorted(keys - never_used)) for name, keys in unused.items()}
    compositions = {name: replace(found, inactive=inactive[name]) for name, found in compositions.items()}
    found = {
        d: groups[d.key] if d.key in groups else _find_value(d, options[d.key], _get(values, d.key)) for d in dimensions
    }
    found |= {d: boundary_values(d)[0] for d in dimensions if d.key in inactive[space.combination({})]}
    recipe = {d.key: value for d, value in found.items() if value is not None and contains(d, value)}
    return replace(space, compositions=compositions), recipe


def _find_inactive(space: SearchSpace, values: Mapping[str, Any], combination: str) -> frozenset[str]:
    """Return the swept keys that a combination of group options does not use: null there, and invalid otherwise."""
    point: dict[str, Value] = {}
    for part in combination.split():
        group, _, option = part.partition("=")
        point[group] = option
    empty = [key for key, value in space.compositions[combination].defaults.items() if value is None]
    if not empty or not _is_valid(space, values, point):
        return frozenset()
    return frozenset(
        dimension.key
        for dimension in space
        if dimension.key in empty
        and not any(_is_valid(space, values, {**point, dimension.key: v}) for v in boundary_values(dimension))
    )


def _is_valid(space: SearchSpace, values: Mapping[str, Any], point: Mapping[str, Value]) -> bool:
    try:
        space.apply(values, point)
    except InputError:
        return False
    return True


def _parse_options(parser: OverridesParser, dimension: Dimension, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return text → value of each option of a choice; nothing for a range.

    A quoted option is a text; if its key takes none, as in `'[512,256]','[384,128]'`, it is what it is without quotes.
    """
    texts = dimension.options if isinstance(dimension, Choice) else ()
    parsed = parser.parse_overrides([f"{dimension.key}={text}" for text in texts])
    found = {text: override.value() for text, override in zip(texts, parsed, strict=True)}
    return {text: _without_quotes(parser, dimension.key, value, values) for text, value in found.items()}


def _without_quotes(parser: OverridesParser, key: str, text: Any, values: Mapping[str, Any]) -> Any:
    """Return what a text is in Hydra's grammar if the key accepts that, but not the text itself."""
    if not isinstance(text, str) or "${" in text:
        return text
    try:
        override = parser.parse_override(f"{key}={text}")
    except UNREADABLE:
        return text
    value = override.value()
    if override.is_sweep_override() or isinstance(value, str):
        return text
    return value if _has_wrong_type(values, key, text) and not _has_wrong_type(values, key, value) else text


def _has_wrong_type(values: Mapping[str, Any], key: str, value: Any) -> bool:
    """Return whether the configuration with this value has a value of a wrong type under the key."""
    draft = copy.deepcopy(dict(values))
    *parents, name = key.split(".")
    node = draft
    for part in parents:
        node = node[part]
    node[name] = value
    try:
        build_config(draft)
    except InputError as error:
        return any(d.code == "wrong-type" and d.location.startswith(key) for d in error.diagnostics)
    return False


def _find_value(dimension: Dimension, options: Mapping[str, Any], value: Any) -> Value | None:
    """Return the recipe's value of a swept key in the notation of the space; None if it has no comparable value."""
    if isinstance(dimension, Choice):
        return next((text for text, option in options.items() if option == value), None)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _compose_combinations(
    loader: ConfigLoader, line: CommandLine, space: SearchSpace
) -> Iterator[tuple[tuple[tuple[str, str], ...], DictConfig]]:
    """Compose every combination of swept group options, among them the recipe's; yield group → option, and the tree.

    Raises:
        InputError: If there are too many combinations, or if one cannot be composed.
    """
    texts = {d.key: d.options for d in space if isinstance(d, Choice) and d.key in space.groups}
    axes = [[(key, text) for text in dict.fromkeys((space.groups[key], *texts[key]))] for key in space.groups]
    if (count := math.prod(map(len, axes))) > _MOST_COMBINATIONS:
        raise InputError(
            Diagnostic(
                "too-many",
                ", ".join(space.groups),
                f"these groups have {count:,} combinations of options, and each is composed before anything starts",
                expected=f"at most {_MOST_COMBINATIONS}",
            )
        )
    for point in itertools.product(*axes):
        chosen = [f"{key}={text}" for key, text in point if text != space.groups[key]]
        try:
            yield point, compose(loader, [*fixed_lines(line.valid), *chosen]) if chosen else line.tree
        except HydraException as error:
            raise InputError(
                Diagnostic("refused-by-hydra", f"{SPACE}: {' '.join(chosen)}", first_line(error.__cause__ or error))
            ) from None


def _reduce(tree: DictConfig, recipe: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> Composition:
    """Return what differs between a composed combination and the recipe.

    Args:
        tree: The combination.
        recipe: The recipe's values.
        options: Swept key → text → value of its options.

    Raises:
        InputError: If a value interpolates a swept key in a way that cannot be followed, such as one element of a list.
    """
    raw: Any = OmegaConf.to_container(tree, resolve=False)
    draft = copy.deepcopy(tree)
    OmegaConf.set_struct(draft, False)
    for key in options:
        OmegaConf.update(draft, key, refer(key))
    defaults = {key: _resolve(draft, key, _get(raw, key)) for key in options}
    given = {key: {text: _resolve(draft, key, v) for text, v in known.items()} for key, known in options.items()}
    values = {key: value for key, value in to_values(draft).items() if value != recipe[key]}
    return Composition(values, defaults, given)


def _get(values: Any, key: str) -> Any:
    """Return the value under a dotted key; InputError if an option of a swept group does not have the key."""
    for part in key.split("."):
        if not isinstance(values, dict) or part not in values:
            raise InputError(Diagnostic("unknown-key", key, "is not a key of every option of the swept groups"))
        values = values[part]
    return values


def _resolve(draft: DictConfig, key: str, value: Any) -> Any:
    """Return a value of `key` with its interpolations resolved, in a tree where swept keys contain references."""
    if "${" not in str(value):
        return value
    try:
        OmegaConf.update(draft, key, value)
        return to_plain(OmegaConf.select(draft, key))
    except OmegaConfBaseException as error:
        raise InputError(Diagnostic("unresolved", key, "cannot be resolved", value, hint=first_line(error))) from None
    finally:
        OmegaConf.update(draft, key, refer(key))
