"""Build the search space: what its points compose to, and the recipe's values of its keys."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embsweep.cli.composition.compose import compose, to_plain, to_values
from embsweep.cli.composition.overrides import UNREADABLE, CommandLine, fixed_lines
from embsweep.cli.composition.validation import SPACE, first_line
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
from embsweep.core.errors import Diagnostic, InputError

_MOST_COMBINATIONS = 256
"""Maximum number of combinations of swept group options: composing one takes a tenth of a second."""


def build_space(
    loader: ConfigLoader,
    parser: OverridesParser,
    line: CommandLine,
    values: dict[str, Any],
    dimensions: Sequence[Dimension],
) -> tuple[SearchSpace, dict[str, Value]]:
    """Return the space, and the recipe's values of its keys without those that are outside their dimension.

    Args:
        loader: Hydra's loader; see `config_loader`.
        parser: Parser of overrides.
        line: The command line.
        values: The recipe.
        dimensions: The dimensions of the space.

    Raises:
        InputError: If a combination of group options cannot be composed.
    """
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
