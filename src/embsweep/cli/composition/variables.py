"""Environment variables in a configuration (`${oc.env:NAME}`): only keys of local paths may take one.

A preset is written by someone else: with a variable in an address or in a name it could send any secret anywhere.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from embsweep.core.errors import Diagnostic
from embsweep.core.redaction import names_secret

PATH_KEYS = (
    "storage.path",
    "model.source",
    "data.path",
    "data.pairs",
    "data.validation_pairs",
    "data.test_pairs",
    "data.corpus",
)
"""Keys of local paths. `model.source` may also be a hub id: with a variable it must be a path."""

_OWN_VARIABLES = {"tracking.uri": frozenset({"MLFLOW_TRACKING_URI"})}
_RESOLVER = "oc.env"
_MARK = re.compile(r"oc_env_(\w+?)_vne_co")
"""A word of OmegaConf's grammar, so that other resolvers accept it."""

_SPACE = "hydra.sweeper.params"

_OPEN = re.compile(r"[*?\[]|(?:^|/)\.\.(?:/|$)")
"""Parts of a path with which it names an existing file whatever the variable's value is."""


def check_variables(tree: DictConfig) -> list[Diagnostic]:
    """Check which keys take a value from the environment, directly or through other keys.

    The tree is resolved once with each variable's name in place of its value.

    Args:
        tree: The composed configuration.

    Returns:
        A diagnostic for each key that may not have one.
    """
    plain: Any = OmegaConf.to_container(tree, resolve=False)
    if not any("${" in text and ":" in text for _, text in _find_texts("", _own_part(plain))):
        return []
    with _marked():
        marked = _resolve(tree)
    hidden = [key for key in _resolve(tree) if key not in marked]
    return [
        Diagnostic("not-settable", key, "reads an environment variable inside another resolver", hint="write the value")
        for key in hidden
    ] + [
        Diagnostic(
            "not-settable",
            key,
            f"takes the environment variable {name}",
            expected="a variable without the name of a secret, and without a pattern or '..' beside it, in a key of "
            f"paths: {', '.join(PATH_KEYS)}",
            hint=f"on the command line the shell can insert it: {key}=$" + name,
        )
        for key, text in _find_texts("", marked)
        for name in dict.fromkeys(_MARK.findall(text))
        if not _is_allowed(key, name, text)
    ]


def _own_part(values: dict[str, Any]) -> dict[str, Any]:
    """Return everything but Hydra's own node, and of that the search space."""
    space = values.get("hydra", {}).get("sweeper", {}).get("params") or {}
    return {**{key: value for key, value in values.items() if key != "hydra"}, _SPACE: space}


def _resolve(tree: DictConfig) -> dict[str, Any]:
    """Return the resolved groups; one that cannot be resolved is left out, and refused elsewhere."""
    resolved: dict[str, Any] = {}
    for key in tree:
        node = tree.hydra.sweeper.params if key == "hydra" else tree._get_node(key)
        name = _SPACE if key == "hydra" else str(key)
        with suppress(OmegaConfBaseException, ValueError, RecursionError):
            resolved[name] = (
                OmegaConf.to_container(node, resolve=True, throw_on_missing=False)
                if OmegaConf.is_config(node)
                else tree[key]
            )
    return resolved


@contextmanager
def _marked() -> Iterator[None]:
    """Resolve `${oc.env:NAME}` to a mark with the name inside."""
    OmegaConf.register_new_resolver(_RESOLVER, lambda name, default=None: f"oc_env_{name}_vne_co", replace=True)
    try:
        yield
    finally:
        OmegaConf.register_new_resolver(_RESOLVER, oc.env, replace=True)


def _find_texts(key: str, node: Any) -> Iterator[tuple[str, str]]:
    """Yield the dotted key of every text below `node`, keys of mappings included, with the text."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from _find_texts(f"{key}.{name}" if key else str(name), value)
            if isinstance(name, str):
                yield key, name
    elif isinstance(node, list):
        for value in node:
            yield from _find_texts(key, value)
    elif isinstance(node, str):
        yield key, node


def _is_allowed(key: str, name: str, text: str) -> bool:
    if name in _OWN_VARIABLES.get(key, ()):
        return True
    if names_secret(name) or _OPEN.search(text):
        return False
    if key == "model.source":
        return _MARK.sub(lambda found: os.environ.get(found[1], ""), text).startswith(("/", "~", "."))
    return key in PATH_KEYS
