"""`python run_sweep.py`: check the arguments, run the sweep through Hydra, and exit with its exit code."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig

from embsweep.cli.composition.compose import check_config_dir, compose, config_loader, to_values
from embsweep.cli.composition.overrides import check_overrides
from embsweep.cli.composition.request import EMPTY_SPACE, parse_request
from embsweep.cli.console import console, exit_codes, quiet_environment
from embsweep.cli.paths import conf_dir, default_storage, program
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.redaction import redact
from embsweep.sweep.request import SweepRequest

DEFAULT_SWEEP = "+sweep=quickstart"
_UNSUPPORTED = ("config-path", "config-name", "experimental-rerun")


def main() -> None:
    """Run `run_sweep.py`.

    Raises:
        SystemExit: If anything fails, with the exit codes of `exit_codes`; also if the options cannot be parsed.
    """
    quiet_environment()
    sys.argv[1:] = with_default_sweep(sys.argv[1:])
    args = get_args_parser().parse_args(sys.argv[1:])
    is_info_only = args.help or args.hydra_help or args.cfg or args.info is not None or args.shell_completion
    with exit_codes(resume=_command()):
        _refuse_options(args)
        if args.config_dir:  # before Hydra reads it: Hydra calls what a user's folder names in `_target_`
            check_config_dir(Path(args.config_dir), args.overrides)
        elif is_info_only:
            _check_files(args.overrides)
        else:
            _check_before_hydra(args.overrides)
        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(_run_single)()


def _refuse_options(args: Namespace) -> None:
    """Raise InputError for options of Hydra that run another program's configuration or load a pickle."""
    given = {name: getattr(args, name.replace("-", "_"), None) for name in _UNSUPPORTED}
    diagnostics = [
        Diagnostic(
            "not-settable",
            f"--{name}",
            "is not supported",
            value,
            hint="for your own presets: --config-dir FOLDER +sweep=NAME",
        )
        for name, value in given.items()
        if value is not None
    ]
    if diagnostics:
        raise InputError(diagnostics)


def with_default_sweep(arguments: Sequence[str]) -> list[str]:
    """Add the preset `quickstart` if the arguments name no preset.

    It is not added with `hydra.mode=RUN`, which runs a single trial, nor with `--hydra-help`.
    """
    names_one = any(argument.lstrip("+").startswith("sweep=") for argument in arguments)
    if names_one or "hydra.mode=RUN" in arguments or "--hydra-help" in arguments:
        return list(arguments)
    return [*arguments, DEFAULT_SWEEP]


def run_from_hydra(loader: ConfigLoader, arguments: Sequence[str]) -> None:
    """Run a sweep inside Hydra; called by the sweeper plugin.

    Raises:
        SystemExit: If anything fails, with the exit codes of `exit_codes`.
    """
    with exit_codes(resume=_command()):
        request, diagnostics = parse_request(loader, arguments, _command())
        if diagnostics:
            _raise_all_errors(request, diagnostics)
        _run(request)


def _check_files(overrides: Sequence[str]) -> None:
    """Raise InputError for a configuration file that cannot be read; Hydra itself reports all other errors."""
    with config_loader() as loader, contextlib.suppress(HydraException):
        compose(loader, overrides)


def _check_before_hydra(overrides: Sequence[str]) -> None:
    """Raise InputError with all errors of the command line, the configuration, the data and the model.

    Hydra itself would stop at the first one.
    """
    with config_loader() as loader:
        good, diagnostics = check_overrides(loader, overrides)
        if not diagnostics:
            return
        try:
            request, more = parse_request(loader, good, _command())
        except InputError as error:
            raise InputError([*diagnostics, *error.diagnostics]) from None
        _raise_all_errors(request, [*diagnostics, *(diagnostic for diagnostic in more if diagnostic != EMPTY_SPACE)])


def _raise_all_errors(request: SweepRequest, diagnostics: Sequence[Diagnostic]) -> NoReturn:
    """Raise InputError with `diagnostics` and those of the configuration, the data and the model."""
    from embsweep.sweep.checks.preflight import check_request

    check_request(request, diagnostics)
    raise InputError(diagnostics)


def _run_single(tree: DictConfig) -> None:
    """Run one trial of one configuration (`hydra.mode=RUN`) as a sweep of one trial."""
    with exit_codes(resume=_command()):
        _run(single_request(to_values(tree), _command()))


def single_request(values: dict[str, Any], command: str) -> SweepRequest:
    """Build the request of a sweep with an empty space and one trial.

    Its name ends in a hash of the parts of the configuration that determine the trial's result.
    """
    content = {key: values[key] for key in ("model", "data", "loss", "matryoshka", "train", "eval", "objective")}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    sweep = {**values["sweep"], "name": f"{values['sweep']['name']}-{digest}"}
    alone = {**values, "sweep": sweep, "search": {**values["search"], "trials": 1}}
    return SweepRequest(alone, (), {}, lambda _: alone, command, default_storage())


def _run(request: SweepRequest) -> None:
    from embsweep.reports.summary import print_result
    from embsweep.sweep.run import run_sweep

    out = console()
    result = run_sweep(request, out)
    print_result(out, result, command=request.command, ui_command=_ui_command(request))


def _ui_command(request: SweepRequest) -> str:
    """Return the command that shows this sweep in MLflow's UI."""
    uri, path = request.values["tracking"]["uri"], request.values["storage"]["path"]
    if uri is not None and uri.startswith("http"):
        return f"open {redact(uri)}"
    storage = [] if path is None else ["--storage", path]
    return shlex.join([program("embsweep"), "ui", *storage, *(["--uri", redact(uri)] if uri else [])])


def _command() -> str:
    """Return the command line that resumes the sweep, with secrets redacted and without `sweep.fresh`."""
    arguments = [a for a in sys.argv[1:] if not a.startswith("sweep.fresh=")]
    return redact(shlex.join([program("python"), "run_sweep.py", *arguments]))
