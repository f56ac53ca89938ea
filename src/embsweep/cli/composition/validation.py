"""Check configuration files and Hydra's own node. Diagnostics of unreadable files contain file, line and reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from embsweep.core.errors import Diagnostic, InputError

Rule = tuple[object, Diagnostic]
"""A condition that is true if there is an error, with the diagnostic of that error."""


def first_error(*rules: Rule) -> list[Diagnostic]:
    """Return the diagnostic of the first rule that is violated; an empty list if there is none."""
    return [diagnostic for is_violated, diagnostic in rules if is_violated][:1]


def refuse(*rules: Rule) -> None:
    """Raise InputError with the diagnostic of the first rule that is violated."""
    if found := first_error(*rules):
        raise InputError(found)


def yaml_diagnostic(error: yaml.YAMLError) -> Diagnostic:
    """Build the diagnostic of a file that is not YAML or names a forbidden type (`!!python/…`), with its line."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        problem = " ".join(str(error.problem).split())
        return Diagnostic(
            "bad-format", f"{mark.name}:{mark.line + 1}", f"cannot be read as YAML ({problem})", expected="plain values"
        )
    name, reason = getattr(error, "name", "a configuration file"), getattr(error, "reason", error)
    return Diagnostic("bad-format", str(name), f"cannot be read as YAML ({reason})", expected="text in UTF-8")


def first_line(error: BaseException) -> str:
    """Return a message of Hydra without its list of search paths; the exception's name if there is no message."""
    lines = [*str(error).strip().splitlines(), type(error).__name__]
    return f"{lines[0]} {lines[1].strip()}" if lines[0].endswith(":") else lines[0]


def undecodable_diagnostics(loader: ConfigLoader) -> list[Diagnostic]:
    """Return a diagnostic for each file of the loader's folders that is not UTF-8.

    The error raised by composing does not name the file. If none is found, there is one diagnostic without a name.
    """
    folders = [Path(source.path) for source in loader.get_sources() if source.scheme() == "file"]
    files = [path for folder in folders for path in sorted(folder.rglob("*.yaml")) if path.is_file()]
    found = [diagnostic for path in files for diagnostic in _check_text(path)]
    return found or [Diagnostic("not-utf8", "a configuration file", "is not text", expected="UTF-8")]


def _check_text(path: Path) -> Iterator[Diagnostic]:
    try:
        path.read_text("utf-8")
    except UnicodeDecodeError as error:
        yield Diagnostic("not-utf8", str(path), f"is not text ({error.reason} at byte {error.start})", expected="UTF-8")


SPACE = "hydra.sweeper.params"
_REQUIRED = {
    "callbacks": {},
    "job_logging": {"version": 1, "root": None, "disable_existing_loggers": False},
    "hydra_logging": {"version": 1, "root": None, "disable_existing_loggers": False},
}
"""Nodes from which Hydra builds objects, with the values that they must have."""


def validate_hydra_node(tree: DictConfig) -> list[Diagnostic]:
    """Check that nothing but config.yaml configures what Hydra calls: callbacks, logging, sweeper, launcher, variables.

    Values are compared before interpolations are followed, because `${oc.create:…}` may hide the callable.

    Returns:
        A diagnostic for each key that a preset or an override has changed.
    """
    values: Any = OmegaConf.to_container(tree, resolve=False)
    node = values["hydra"]
    found = {
        **{key: (node[key], value) for key, value in _REQUIRED.items()},
        **{kind: (_without_params(node[kind]), _registered(kind, name)) for kind, name in _PLUGINS.items()},
        "job.env_set": (node["job"]["env_set"], {}),
    }
    changed = [
        Diagnostic("not-settable", f"hydra.{key}", "configures what Hydra runs", value, hint="leave it out")
        for key, (value, expected) in found.items()
        if value != expected
    ]
    return changed + [
        Diagnostic(
            "not-settable", f"hydra.{key}", "is read before interpolations are followed", node[key], "a plain value"
        )
        for key in ("mode", "verbose")
        if "${" in str(node[key])
    ]


_PLUGINS = {"sweeper": "embsweep", "launcher": "basic"}


def _without_params(node: Any) -> Any:
    return {key: value for key, value in node.items() if key != "params"} if isinstance(node, dict) else node


def _registered(kind: str, name: str) -> Any:
    return _without_params(OmegaConf.to_container(ConfigStore.instance().load(f"hydra/{kind}/{name}.yaml").node))


def read_space(tree: DictConfig) -> dict[str, Any]:
    """Return `hydra.sweeper.params` (a mapping by Hydra's schema) as plain values; InputError if it is unresolvable."""
    try:
        params: Any = OmegaConf.to_container(tree.hydra.sweeper.params, resolve=True)
    except (OmegaConfBaseException, ValueError, RecursionError) as error:
        raise InputError(Diagnostic("unresolved", SPACE, "cannot be resolved", hint=first_line(error))) from None
    return dict(params)
