"""Check of the command line's overrides before Hydra composes them: every fault at once, with spellings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from embsweep.app.composer import CONFIG_NAME, compose, group_options
from embsweep.errors import Fault, did_you_mean


def check_overrides(loader: ConfigLoader, lines: Sequence[str]) -> tuple[list[str], list[Fault]]:
    """The overrides that can be composed, and the faults of the others."""
    parsed, faults = _parse_all(loader, lines)
    groups = [o for o in parsed if group_options(loader, o.key_or_group)]
    good_groups, group_faults = _check_groups(loader, groups)
    base = compose(loader, [_as_line(o) for o in good_groups if not o.is_sweep_override()])
    keys = [o for o in parsed if o not in groups]
    good_keys, key_faults = _check_keys(loader, base, keys)
    return [_as_line(o) for o in (*good_groups, *good_keys)], [*faults, *group_faults, *key_faults]


def all_keys(tree: DictConfig) -> list[str]:
    """Every dotted key of a composed configuration, Hydra's own left out."""
    values = OmegaConf.to_container(tree, resolve=False)
    return [key for key in _walk(values) if not key.startswith("hydra.")]


def _walk(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{prefix}{name}"
            yield from _walk(child, f"{prefix}{name}.")


def _parse_all(loader: ConfigLoader, lines: Sequence[str]) -> tuple[list[Override], list[Fault]]:
    parser = OverridesParser.create(config_loader=loader)
    parsed, faults = [], []
    for line in lines:
        try:
            parsed.append(parser.parse_override(line))
        except HydraException as error:
            fault = Fault(line.split("=", 1)[0], "cannot be read as an override", line, "key=value, as Hydra writes it")
            faults.append(Fault(fault.where, fault.problem, line, fault.accepted, str(error).splitlines()[0]))
    return parsed, faults


def _check_groups(loader: ConfigLoader, overrides: Sequence[Override]) -> tuple[list[Override], list[Fault]]:
    good, faults = [], []
    for override in overrides:
        options = group_options(loader, override.key_or_group)
        unknown = [name for name in _chosen(override) if name not in options]
        if override.is_delete():
            faults.append(Fault(override.key_or_group, "a group cannot be removed", accepted=", ".join(options)))
        elif unknown:
            faults.extend(
                Fault(override.key_or_group, "unknown option", name, ", ".join(options), did_you_mean(name, options))
                for name in unknown
            )
        else:
            good.append(override)
    return good, faults


def _chosen(override: Override) -> list[str]:
    if override.is_choice_sweep():
        return [text.strip("'\"") for text in override.sweep_string_iterator()]
    return [] if override.is_delete() else [str(override.value())]


def _check_keys(
    loader: ConfigLoader, base: DictConfig, overrides: Sequence[Override]
) -> tuple[list[Override], list[Fault]]:
    known = all_keys(base)
    good, faults = [], []
    for override in overrides:
        key = override.key_or_group
        if key == "hydra" or key.startswith("hydra."):
            good.append(override)
        elif override.is_delete():
            faults.append(Fault(key, "a key cannot be removed", accepted="key=value"))
        elif key in known:
            good.append(override)
        else:
            faults.append(_unknown_key(loader, override, known))
    return good, faults


def _unknown_key(loader: ConfigLoader, override: Override, known: Sequence[str]) -> Fault:
    key = override.key_or_group
    group, _, rest = key.partition(".")
    home = [name for name in group_options(loader, group) if rest and _option_has(loader, group, name, rest)]
    if home:
        return Fault(key, f"is a key of {group}={home[0]}, which is not chosen", fix=f"add {group}={home[0]}")
    groups = loader.get_group_options("", ObjectType.GROUP)
    siblings = [k.removeprefix(f"{group}.") for k in known if k.startswith(f"{group}.")]
    accepted = ", ".join(siblings) if rest and siblings else None
    return Fault(
        key, "unknown key or group", override.get_value_string(), accepted, did_you_mean(key, [*known, *groups])
    )


def _option_has(loader: ConfigLoader, group: str, option: str, key: str) -> bool:
    try:
        tree = compose(loader, [f"{group}={option}"])
    except HydraException:
        return False
    return f"{group}.{key}" in all_keys(tree)


def _as_line(override: Override) -> str:
    line: str | None = override.input_line
    if line is None:
        raise ValueError(f"an override without its text: {override}")
    return line


__all__ = ["CONFIG_NAME", "all_keys", "check_overrides"]
