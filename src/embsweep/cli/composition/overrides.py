"""Parse and check the overrides of the command line; report all errors, with similar spellings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from embsweep.cli.composition.compose import compose, group_options
from embsweep.cli.composition.hydra_idioms import translate_sweeper
from embsweep.cli.composition.search_space import GRAMMAR
from embsweep.cli.composition.validation import first_error, first_line
from embsweep.config.model import NO_REMOTE_CODE, USE_KNOWN_ARCHITECTURE
from embsweep.core.errors import Diagnostic, InputError, did_you_mean

_NOWHERE = "the command line"
_CALL = re.compile(r"\w+\(")
UNREADABLE = (HydraException, ValueError, ArithmeticError, RecursionError)
"""Errors of Hydra's parser: not only its own, if a number or the depth of nesting exceeds Python's limits."""


@dataclass(frozen=True)
class CommandLine:
    """Parsed overrides, and what the valid ones compose to.

    Attributes:
        valid: The valid overrides in the given order.
        tree: The configuration composed from those that do not sweep their key.
        diagnostics: What is wrong with the others.
    """

    valid: tuple[Override, ...]
    tree: DictConfig
    diagnostics: tuple[Diagnostic, ...]

    @property
    def swept(self) -> list[Override]:
        """The overrides that sweep their key."""
        return [override for override in self.valid if override.is_sweep_override()]


def parse_command_line(loader: ConfigLoader, lines: Sequence[str]) -> CommandLine:
    """Parse overrides, and compose the valid ones: at once if all are valid, otherwise step by step to find the errors.

    Args:
        loader: Hydra's loader; see `config_loader`.
        lines: Overrides in Hydra's syntax.

    Raises:
        InputError: If the chosen presets cannot be composed.
    """
    parsed, unreadable = _parse_all(loader, lines)
    try:
        good, tree, found = _compose_valid(loader, parsed)
    except InputError as error:
        raise InputError([*unreadable, *error.diagnostics]) from None
    return CommandLine(tuple(good), tree, (*unreadable, *found))


def _compose_valid(
    loader: ConfigLoader, parsed: Sequence[Override]
) -> tuple[Sequence[Override], DictConfig, list[Diagnostic]]:
    """Return the overrides that can be composed, what they compose to, and diagnostics of the others."""
    groups = [o for o in parsed if group_options(loader, o.key_or_group)]
    keys = [o for o in parsed if o not in groups]
    whole = None
    if all(o.type is OverrideType.CHANGE for o in keys):  # otherwise, Hydra would add or remove the key
        with suppress(HydraException, InputError):
            whole = compose(loader, fixed_lines(parsed))
    chosen = [without_plus(o) for o in groups]
    added = {without_plus(o) for o in groups if o.is_add() and whole is not None}
    in_defaults = set((compose(loader, []) if whole is None else whole).hydra.runtime.choices) - added
    by_group = [(o, _validate_group(loader, o, chosen[:i], in_defaults)) for i, o in enumerate(groups)]
    good_groups = [o for o, found in by_group if not found]
    base = whole if whole is not None and len(good_groups) == len(groups) else _compose_groups(loader, good_groups)
    known = all_keys(base)
    by_key = [(o, _validate_key(loader, o, known, is_composed=base is whole)) for o in keys]
    good_keys = [o for o, found in by_key if not found]
    good = [o for o in parsed if o in good_groups or o in good_keys]
    diagnostics = [diagnostic for _, found in (*by_group, *by_key) for diagnostic in found]
    if whole is not None and not diagnostics:
        return good, whole, []
    good, conflicts = _check_conflicts(loader, good, good_groups, good_keys)
    return good, compose(loader, fixed_lines(good)), [*diagnostics, *conflicts]


def without_plus(override: Override) -> str:
    """Return the key or the group of an override, with its package, but without the prefix that adds it."""
    return override.get_key_element().lstrip("+")


def _compose_groups(loader: ConfigLoader, groups: Sequence[Override]) -> DictConfig:
    """Compose the chosen presets; raise InputError if Hydra rejects them."""
    lines = fixed_lines(groups)
    try:
        return compose(loader, lines)
    except HydraException as error:
        raise InputError(
            Diagnostic("refused-by-hydra", " ".join(lines) or "conf/", f"cannot be composed: {first_line(error)}")
        ) from None


def all_keys(tree: DictConfig) -> list[str]:
    """Return every dotted key of a composed configuration, except Hydra's own."""
    values = OmegaConf.to_container(tree, resolve=False)
    return [key for key in _walk(values) if not key.startswith("hydra.")]


def _walk(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{prefix}{name}"
            yield from _walk(child, f"{prefix}{name}.")


def _parse_all(loader: ConfigLoader, lines: Sequence[str]) -> tuple[list[Override], list[Diagnostic]]:
    parser = OverridesParser.create(config_loader=loader)
    parsed, diagnostics = [], []
    for line in lines:
        try:
            parsed.extend(parser.parse_overrides([line]))
        except UNREADABLE as error:
            key, _, value = line.partition("=")
            reason = _find_reason(error)
            hint = (_suggest_quoting(parser, key, value) if key and value else None) or reason
            diagnostics.append(
                Diagnostic(
                    "bad-override",
                    key or _NOWHERE,
                    "cannot be read as an override",
                    line,
                    GRAMMAR if _CALL.match(value) else "key=value in Hydra's syntax",
                    hint,
                )
            )
    return parsed, diagnostics


def _find_reason(error: BaseException) -> str:
    """Return the first line of an error of Hydra's parser that says more than which override it is about."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if not line.startswith("Error parsing override")), lines[0])


def _suggest_quoting(parser: OverridesParser, key: str, value: str) -> str | None:
    """Return how to quote a value that is invalid without quotes (`ü`, brackets split by the shell), or None."""
    if sum(map(value.count, "{[(")) != sum(map(value.count, "}])")):
        return "brackets do not match: quote the whole argument for the shell, 'key={a: 1}'"
    if _CALL.match(value):  # in quotes it would be a text
        return None
    line = f'{key}="{value}"'
    try:
        parser.parse_override(line)
    except UNREADABLE:
        return None
    return f"quote the value: {shlex.quote(line)}"


def _validate_group(
    loader: ConfigLoader, override: Override, earlier: Collection[str], in_defaults: Container[str]
) -> list[Diagnostic]:
    """Check that groups of the defaults list are replaced (`model=…`), others added (`+sweep=…`), each only once."""
    group, key, value = override.key_or_group, without_plus(override), str(override.value())
    options, line = group_options(loader, group), override.input_line
    is_plugin, is_default = key.startswith(("hydra/sweeper", "hydra/launcher")), key in in_defaults
    return unknown_options(override, options) or first_error(
        (
            override.is_delete(),
            Diagnostic("not-settable", group, "a group cannot be removed", expected=", ".join(options)),
        ),
        (key in earlier, Diagnostic("duplicate-value", key, "is chosen twice", value, "one choice of a group")),
        (
            is_plugin and value != "embsweep",
            Diagnostic("not-settable", key, "cannot be replaced", value, "leave it out"),
        ),
        (
            "@" in key and not is_default,
            Diagnostic("unknown-key", key, "there is no such package in the configuration", value, group),
        ),
        (
            is_default and override.is_add(),
            Diagnostic("wrong-prefix", key, "is already in the configuration", line, hint=f"write {key}={value}"),
        ),
        (
            not is_default and not override.is_add(),
            Diagnostic("wrong-prefix", key, "must be added with '+'", line, hint=f"write +{key}={value}"),
        ),
    )


def unknown_options(override: Override, options: Sequence[str]) -> list[Diagnostic]:
    """Return a diagnostic for each option that an override of a group selects, but that is not among `options`."""
    if override.is_choice_sweep():
        selected = [text.strip("'\"") for text in override.sweep_string_iterator()]
    else:
        selected = [] if override.is_delete() else [str(override.value())]
    where, expected = override.key_or_group, ", ".join(options)
    return [
        Diagnostic("unknown-option", where, "unknown option", name, expected, did_you_mean(name, options))
        for name in selected
        if name not in options
    ]


def _validate_key(
    loader: ConfigLoader, override: Override, known: Sequence[str], *, is_composed: bool
) -> list[Diagnostic]:
    key = override.key_or_group
    if key.partition(".")[0] == "hydra":
        return [] if is_composed and not override.is_sweep_override() else _check_hydra_key(loader, override)
    if override.is_delete():
        return [Diagnostic("not-settable", key, "a key cannot be removed", expected="key=value")]
    if override.is_add() and override.is_sweep_override() and key in known:
        value = override.get_value_string()
        return [Diagnostic("wrong-prefix", key, "is already in the configuration", value, hint=f"write {key}={value}")]
    return [] if key in known else [_unknown_key(loader, override, known)]


def _check_hydra_key(loader: ConfigLoader, override: Override) -> list[Diagnostic]:
    """Check a key of Hydra's own node by composing it: Hydra has a schema for it."""
    key, value = override.key_or_group, None if override.is_delete() else override.get_value_string()
    if override.is_sweep_override():
        hint = f"write {inner}={value}" if (inner := key.removeprefix("hydra.sweeper.params.")) != key else None
        return [Diagnostic("not-sweepable", key, "cannot be swept", value, "one value", hint)]
    try:
        reason = _compose_error(loader, [override])
    except InputError as error:
        return list(error.diagnostics)
    hint = translate_sweeper(key) or reason
    return [Diagnostic("refused-by-hydra", key, "rejected by Hydra", value, hint=hint)] if reason else []


def _check_conflicts(
    loader: ConfigLoader, in_given_order: Sequence[Override], groups: Sequence[Override], keys: Sequence[Override]
) -> tuple[list[Override], list[Diagnostic]]:
    """Return the overrides that compose together, and a diagnostic for each that conflicts with an earlier one.

    An example is `storage=null storage.path=…`. All together they are first composed in the given order, as Hydra will.
    """
    if not _compose_error(loader, in_given_order):
        return list(in_given_order), []
    good, diagnostics = list(groups), []
    for override in keys:
        if reason := _compose_error(loader, [*good, override]):
            diagnostics.append(
                Diagnostic(
                    "conflict",
                    override.key_or_group,
                    "conflicts with an earlier override",
                    override.input_line,
                    hint=reason,
                )
            )
        else:
            good.append(override)
    return good, diagnostics


def _compose_error(loader: ConfigLoader, overrides: Sequence[Override]) -> str | None:
    """Return Hydra's reason for rejecting these, without its advice and internal types; None if it composes them."""
    try:
        compose(loader, fixed_lines(overrides))
    except HydraException as error:
        return first_line(error.__cause__ or error)
    return None


def _unknown_key(loader: ConfigLoader, override: Override, known: Sequence[str]) -> Diagnostic:
    key = override.key_or_group
    group, _, rest = key.partition(".")
    if rest == "trust_remote_code":
        return Diagnostic("not-settable", key, NO_REMOTE_CODE, override.get_value_string(), hint=USE_KNOWN_ARCHITECTURE)
    owners = [name for name in group_options(loader, group) if rest and _option_has(loader, group, name, rest)]
    if owners:
        return Diagnostic(
            "inactive-key",
            key,
            f"is a key of {group}={owners[0]}, which is not selected",
            hint=f"add {group}={owners[0]}",
        )
    groups = loader.get_group_options("", ObjectType.GROUP)
    siblings = [k.removeprefix(f"{group}.") for k in known if k.startswith(f"{group}.")]
    expected = ", ".join(siblings if rest and siblings else groups)
    similar = translate_sweeper(key) or did_you_mean(key, [k for k in known if "." in k] if rest else [*known, *groups])
    return Diagnostic(
        "unknown-key", key or _NOWHERE, "unknown key or group", override.get_value_string(), expected, similar
    )


def _option_has(loader: ConfigLoader, group: str, option: str, key: str) -> bool:
    with suppress(HydraException):
        return f"{group}.{key}" in all_keys(compose(loader, [f"{group}={option}"]))
    return False


def fixed_lines(overrides: Sequence[Override]) -> list[str]:
    """Return the text of the overrides that do not sweep their key."""
    return [str(override.input_line) for override in overrides if not override.is_sweep_override()]
