"""Hydra's own node of a configuration: what a file may set of it. All else is config.yaml's, or the command line's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hydra.core.config_loader import ConfigLoader
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embsweep.app.config_files import first_line
from embsweep.app.trees import load_tree
from embsweep.errors import Fault, InputError

SPACE = "hydra.sweeper.params"

CALL_KEYS = frozenset({"_target_", "_partial_", "_args_", "_recursive_", "_convert_"})
"""With these, `hydra.utils.instantiate` calls what a configuration names; nothing here is built that way."""

_FREE = ("hydra.mode", "hydra.verbose", SPACE)
_ACCEPTED = f"{', '.join(_FREE)}; what else is Hydra's belongs on the command line"
_RECORDS = ("hydra.runtime", "hydra.overrides", "hydra.searchpath", "hydra.job.name", "hydra.job.override_dirname")
"""What Hydra itself writes while it composes, or takes from nowhere but config.yaml and the command line."""


def check_hydra_node(loader: ConfigLoader, tree: DictConfig, overrides: Sequence[str]) -> None:
    """InputError where a preset changes how Hydra runs: callbacks, logging, environment, folders.

    Compared before interpolations are followed, with what config.yaml and the command line alone compose to:
    Hydra builds objects from this node, and `${oc.create:…}` may hide from any search what it would call.
    """
    own = _plain_node(load_tree(loader, [line for line in overrides if _is_hydras(line)]))
    node = _plain_node(tree)
    found = _find_changes(node, own, "hydra")
    faults = [Fault("not-settable", where, "cannot be set by a preset", value, _ACCEPTED) for where, value in found]
    faults += [
        Fault("not-settable", f"hydra.{key}", "is read before interpolations are followed", node[key], "a plain value")
        for key in ("mode", "verbose")
        if "${" in str(node[key])
    ]
    faults += [
        Fault("not-settable", f"hydra.overrides.{kind}", "cannot be set by a preset", line, _ACCEPTED)
        for kind in ("hydra", "task")
        for line in node["overrides"][kind]
        if line not in overrides
    ]
    if faults:
        raise InputError(faults)
    read_space(tree)


def read_space(tree: DictConfig) -> dict[str, Any]:
    """`hydra.sweeper.params` as plain values, a mapping by Hydra's schema. InputError where it cannot be resolved."""
    try:
        params: Any = OmegaConf.to_container(tree.hydra.sweeper.params, resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(Fault("unresolved", SPACE, "cannot be resolved", fix=first_line(error))) from None
    return dict(params)


def _is_hydras(override: str) -> bool:
    key = override.lstrip("+~")
    return key.startswith(("hydra.", "hydra/", "hydra=")) and not key.startswith(SPACE)


def _plain_node(tree: DictConfig) -> Any:
    """The node as it is written: `tree.hydra` would follow an interpolation."""
    values: Any = OmegaConf.to_container(tree, resolve=False)
    return values["hydra"]


def _find_changes(node: Any, own: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Dotted keys below which `node` is not what it is in `own`, and what stands there."""
    if where in _FREE or where in _RECORDS:
        return
    if isinstance(node, Mapping) and isinstance(own, Mapping):
        for key, value in node.items():
            yield from _find_changes(value, own.get(key, _ABSENT), f"{where}.{key}")
    elif node != own:
        yield where, node


_ABSENT = object()
