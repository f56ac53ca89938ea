"""Check the overrides of the command line before Hydra composes them; report all errors, with similar spellings."""

from __future__ import annotations

import shlex
from collections.abc import Container, Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from embsweep.cli.composition.compose import call_diagnostic, compose, find_targets, group_options
from embsweep.cli.composition.validation import CALL_KEYS, first_line
from embsweep.core.errors import Diagnostic, InputError, did_you_mean

_NOWHERE = "the command line"
UNREADABLE = (HydraException, ValueError, ArithmeticError, RecursionError)
"""Errors of Hydra's parser: not only its own, if a number or the depth of nesting exceeds Python's limits."""


def check_overrides(loader: ConfigLoader, lines: Sequence[str]) -> tuple[list[str], list[Diagnostic]]:
    """Return the overrides that can be composed, and diagnostics of the others.

    Raises:
        InputError: If the chosen presets cannot be composed.
    """
    parsed, diagnostics = _refuse_calls(*_parse_all(loader, lines))
    groups = [o for o in parsed if group_options(loader, o.key_or_group)]
    good_groups, group_diagnostics = _check_groups(loader, groups)
    base = _compose_groups(loader, good_groups)
    keys = [o for o in parsed if o not in groups]
    good_keys, key_diagnostics = _check_keys(loader, base, keys)
    in_given_order = [o for o in parsed if o in good_groups or o in good_keys]
    good, conflict_diagnostics = _check_conflicts(loader, in_given_order, good_groups, good_keys)
    diagnostics = [*diagnostics, *group_diagnostics, *key_diagnostics, *conflict_diagnostics, *_check_single(parsed)]
    return [_to_text(override) for override in good], diagnostics


def _compose_groups(loader: ConfigLoader, groups: Sequence[Override]) -> DictConfig:
    """Compose the chosen presets; raise InputError if Hydra rejects them."""
    lines = [_to_text(override) for override in groups if not override.is_sweep_override()]
    try:
        return compose(loader, lines)
    except HydraException as error:
        raise InputError(
            Diagnostic("refused-by-hydra", " ".join(lines) or "conf/", f"cannot be composed: {first_line(error)}")
        ) from None


def _check_single(overrides: Sequence[Override]) -> list[Diagnostic]:
    """Return a diagnostic for each swept key if `hydra.mode=RUN` requests a single trial."""
    if not any(o.key_or_group == "hydra.mode" and str(o.value()) == "RUN" for o in overrides):
        return []
    return [
        Diagnostic(
            "not-sweepable", o.key_or_group, "cannot be swept with hydra.mode=RUN", o.get_value_string(), "one value"
        )
        for o in overrides
        if o.is_sweep_override()
    ]


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
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            hint = (_suggest_quoting(parser, key, value) if key and value else None) or reason
            expected = "key=value in Hydra's syntax"
            diagnostics.append(
                Diagnostic("bad-override", key or _NOWHERE, "cannot be read as an override", line, expected, hint)
            )
    return parsed, diagnostics


def _refuse_calls(
    parsed: Sequence[Override], diagnostics: Sequence[Diagnostic]
) -> tuple[list[Override], list[Diagnostic]]:
    """Remove overrides that would make Hydra call something, by key or inside a value (`train={_target_: …}`)."""
    found = {id(override): list(_calls(override)) for override in parsed}
    refused = [call_diagnostic(where, value) for override in parsed for where, value in found[id(override)]]
    return [override for override in parsed if not found[id(override)]], [*diagnostics, *refused]


def _calls(override: Override) -> Iterator[tuple[str, Any]]:
    key = override.key_or_group
    if CALL_KEYS & set(key.split(".")):
        yield key, override.get_value_string()
    elif override.is_sweep_override():
        text = override.get_value_string()
        yield from ((key, text) for name in sorted(CALL_KEYS) if name in text)
    elif not override.is_delete():
        yield from find_targets(override.value(), f"{key}.")


def _suggest_quoting(parser: OverridesParser, key: str, value: str) -> str | None:
    """Return how to quote a value that is invalid without quotes (`ü`, brackets split by the shell), or None."""
    if sum(map(value.count, "{[(")) != sum(map(value.count, "}])")):
        return "brackets do not match: quote the whole argument for the shell, 'key={a: 1}'"
    line = f'{key}="{value}"'
    try:
        parser.parse_override(line)
    except UNREADABLE:
        return None
    return f"quote the value: {shlex.quote(line)}"


def _check_groups(loader: ConfigLoader, overrides: Sequence[Override]) -> tuple[list[Override], list[Diagnostic]]:
    in_defaults = compose(loader, []).hydra.runtime.choices
    good, diagnostics = [], []
    seen: set[str] = set()
    for override in overrides:
        options = group_options(loader, override.key_or_group)
        unknown = [] if override.is_delete() else [name for name in _selected(override) if name not in options]
        misplaced = None if override.is_delete() else _check_prefix(override, in_defaults, seen)
        if override.is_delete():
            diagnostics.append(
                Diagnostic(
                    "not-settable", override.key_or_group, "a group cannot be removed", expected=", ".join(options)
                )
            )
        elif unknown:
            diagnostics.extend(
                Diagnostic(
                    "unknown-option",
                    override.key_or_group,
                    "unknown option",
                    name,
                    ", ".join(options),
                    did_you_mean(name, options),
                )
                for name in unknown
            )
        elif misplaced:
            diagnostics.append(misplaced)
        else:
            good.append(override)
    return good, diagnostics


def _check_prefix(override: Override, in_defaults: Container[str], seen: set[str]) -> Diagnostic | None:
    """Check that groups of the defaults list are replaced (`model=…`), others added (`+sweep=…`), each only once."""
    key, value = override.get_key_element().lstrip("+"), str(override.value())
    if key in seen:
        return Diagnostic("duplicate-value", key, "is chosen twice", value, "one choice of a group")
    seen.add(key)
    if key.startswith(("hydra/sweeper", "hydra/launcher")) and value != "embsweep":
        return Diagnostic("not-settable", key, "cannot be replaced", value, "leave it out")
    if "@" in key and key not in in_defaults:
        return Diagnostic(
            "unknown-key", key, "there is no such package in the configuration", value, override.key_or_group
        )
    if key in in_defaults and override.is_add():
        return Diagnostic(
            "wrong-prefix", key, "is already in the configuration", override.input_line, hint=f"write {key}={value}"
        )
    if key not in in_defaults and not override.is_add():
        return Diagnostic(
            "wrong-prefix", key, "must be added with '+'", override.input_line, hint=f"write +{key}={value}"
        )
    return None


def _selected(override: Override) -> list[str]:
    if override.is_choice_sweep():
        return [text.strip("'\"") for text in override.sweep_string_iterator()]
    return [] if override.is_delete() else [str(override.value())]


def _check_keys(
    loader: ConfigLoader, base: DictConfig, overrides: Sequence[Override]
) -> tuple[list[Override], list[Diagnostic]]:
    known = all_keys(base)
    good, diagnostics = [], []
    for override in overrides:
        key = override.key_or_group
        if key == "hydra" or key.startswith("hydra."):
            diagnostic = _check_hydra_key(loader, override)
            diagnostics.extend([diagnostic] if diagnostic else [])
            good.extend([] if diagnostic else [override])
        elif override.is_delete():
            diagnostics.append(Diagnostic("not-settable", key, "a key cannot be removed", expected="key=value"))
        elif key in known:
            good.append(override)
        else:
            diagnostics.append(_unknown_key(loader, override, known))
    return good, diagnostics


def _check_hydra_key(loader: ConfigLoader, override: Override) -> Diagnostic | None:
    """Check a key of Hydra's own node by composing it: Hydra has a schema for it."""
    if override.is_sweep_override():
        key, value = override.key_or_group, override.get_value_string()
        hint = f"write {inner}={value}" if (inner := key.removeprefix("hydra.sweeper.params.")) != key else None
        return Diagnostic("not-sweepable", key, "cannot be swept", value, "one value", hint)
    reason = _compose_error(loader, [override])
    return (
        Diagnostic(
            "refused-by-hydra", override.key_or_group, "rejected by Hydra", override.get_value_string(), hint=reason
        )
        if reason
        else None
    )


def _check_conflicts(
    loader: ConfigLoader, in_given_order: Sequence[Override], groups: Sequence[Override], keys: Sequence[Override]
) -> tuple[list[Override], list[Diagnostic]]:
    """Return the overrides that compose together, and a diagnostic for each that conflicts with an earlier one.

    An example is `storage=null storage.path=…`. All together they are first composed in the given order, as Hydra will.
    """
    if not _compose_error(loader, in_given_order):
        return [*groups, *keys], []
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
        compose(loader, [_to_text(o) for o in overrides if not o.is_sweep_override()])
    except HydraException as error:
        return first_line(error.__cause__ or error)
    return None


def _unknown_key(loader: ConfigLoader, override: Override, known: Sequence[str]) -> Diagnostic:
    key = override.key_or_group
    group, _, rest = key.partition(".")
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
    similar = did_you_mean(key, [k for k in known if "." in k] if rest else [*known, *groups])
    return Diagnostic(
        "unknown-key", key or _NOWHERE, "unknown key or group", override.get_value_string(), expected, similar
    )


def _option_has(loader: ConfigLoader, group: str, option: str, key: str) -> bool:
    try:
        tree = compose(loader, [f"{group}={option}"])
    except HydraException:
        return False
    return f"{group}.{key}" in all_keys(tree)


def _to_text(override: Override) -> str:
    line: str | None = override.input_line
    if line is None:
        raise ValueError(f"an override without its text: {override}")
    return line
