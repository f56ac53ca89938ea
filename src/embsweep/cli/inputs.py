"""Configuration and data of the commands that use a sweep's overrides and train nothing: `evaluate` and `audit`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from embsweep.cli.composition.compose import compose, config_loader, resolve_partially
from embsweep.cli.composition.overrides import check_overrides
from embsweep.cli.json_output import validate_json_file
from embsweep.cli.paths import default_storage
from embsweep.config import Config
from embsweep.config.root import check_measurable
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection
from embsweep.sweep.checks.inputs import checked_config, checked_data, deduplicate, find_storage


def read_inputs(
    overrides: Sequence[str],
    json_file: Path | None,
    validate: Callable[[Config, Sequence[Diagnostic]], Iterable[Diagnostic]],
    *,
    earlier: Iterable[Diagnostic] = (),
    may_sweep: bool = False,
) -> tuple[Config, Collection, list[str]]:
    """Compose and check the configuration, and load the data.

    Args:
        overrides: Overrides as for a sweep.
        json_file: File to be written at the end, if one is wanted.
        validate: Returns the command's own diagnostics for a valid configuration and the diagnostics so far.
        earlier: Diagnostics found before, which are reported too.
        may_sweep: Whether an override may sweep its key, which then has the recipe's value.

    Returns:
        Configuration, data, and the overrides that sweep their key.

    Raises:
        InputError: If anything is wrong, with all diagnostics.
    """
    diagnostics = [*earlier, *(() if json_file is None else validate_json_file(json_file))]
    with config_loader() as loader:
        good, found = check_overrides(loader, overrides)
        swept = [line for line in good if OverridesParser.create().parse_override(line).is_sweep_override()]
        diagnostics.extend(found)
        if not may_sweep:
            diagnostics.extend(
                Diagnostic("not-sweepable", line.split("=")[0], "cannot be swept here", line, "one value")
                for line in swept
            )
        try:
            values, unresolved = resolve_partially(compose(loader, [line for line in good if line not in swept]))
        except InputError as error:
            raise InputError([*diagnostics, *error.diagnostics]) from None
    diagnostics.extend(unresolved)
    config = checked_config(values, diagnostics, check_measurable)
    if config is not None:
        diagnostics.extend(validate(config, diagnostics))
    collection = checked_data(values, find_storage(values, default_storage()), diagnostics)
    if config is None or collection is None or diagnostics:
        raise InputError(deduplicate(diagnostics))
    return config, collection, swept
