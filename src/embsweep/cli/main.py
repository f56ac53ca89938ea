"""`python run_sweep.py`: check the arguments, run the sweep inside Hydra's application, and exit with its exit code."""

from __future__ import annotations

import contextlib
import shlex
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hydra
from hydra.errors import HydraException

from embsweep.cli.composition.compose import compose, config_loader
from embsweep.cli.composition.request import parse_request
from embsweep.cli.console import console, exit_codes, quiet_environment
from embsweep.cli.paths import conf_dir, program
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.names import rehearsal_name
from embsweep.core.redaction import redact
from embsweep.sweep.request import SweepRequest

if TYPE_CHECKING:
    from embsweep.reports.view import Result

DEFAULT_SWEEP = "+sweep=quickstart"
_PRINTS = {"action": "store_true", "dest": "prints"}
_FLAG = {"action": "store_true"}
_OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("overrides",): {"nargs": "*"},
    ("--help", "-h"): _PRINTS,
    ("--hydra-help",): _PRINTS,
    ("--version",): _PRINTS,
    ("--shell-completion", "-sc"): _PRINTS,
    ("--info", "-i"): {"nargs": "?", "const": "all"},
    ("--resolve",): _FLAG,
    ("--run", "-r"): _FLAG,
    ("--multirun", "-m"): _FLAG,
    ("--cfg", "-c"): {},
    ("--package", "-p"): {},
    ("--config-path", "-cp"): {},
    ("--config-name", "-cn"): {},
    ("--config-dir", "-cd"): {},
    ("--experimental-rerun",): {},
}
"""Hydra's options, and how to parse them."""

_UNSUPPORTED = ("config_path", "config_name", "experimental_rerun")


def main() -> None:
    """Run `run_sweep.py`.

    The request is parsed and composed here, once. Hydra's application then only shows its help or configuration, or
    sets up what the command line asks of it (`hydra.…`) and calls back to run the request.

    Raises:
        SystemExit: If anything fails, with the exit codes of `exit_codes`; also if the options cannot be parsed.
    """
    quiet_environment()
    sys.argv[1:] = with_default_sweep(sys.argv[1:])
    args = _parse_options(sys.argv[1:])
    with exit_codes(resume=_command()):
        _refuse_options(args)
        request = _read_request(args)

        def run(_: object) -> None:
            if request is not None:
                with exit_codes(resume=_command()):  # Hydra would print an error as a defect
                    _run(request)

        hydra.main(config_path=str(conf_dir()), config_name="config", version_base="1.3")(run)()


def _parse_options(arguments: Sequence[str]) -> Namespace:
    """Find the overrides, and which of Hydra's options are given; Hydra itself reports values that it does not accept.

    `prints` is true for the options with which Hydra prints something and runs nothing.
    """
    parser = ArgumentParser(add_help=False)
    for names, kind in _OPTIONS.items():
        parser.add_argument(*names, **kind)
    return parser.parse_args(arguments)


def _refuse_options(args: Namespace) -> None:
    """Raise InputError for options that run another program's configuration, load a pickle, or name no folder."""
    diagnostics = [
        Diagnostic(
            "not-settable",
            f"--{name.replace('_', '-')}",
            "is not supported",
            value,
            hint="for your own presets: --config-dir FOLDER +sweep=NAME",
        )
        for name, value in vars(args).items()
        if name in _UNSUPPORTED and value is not None
    ]
    if args.config_dir and not Path(args.config_dir).is_dir():
        diagnostics.append(Diagnostic("missing-file", "--config-dir", "there is no such folder", args.config_dir))
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


def _read_request(args: Namespace) -> SweepRequest | None:
    """Return the request; None if Hydra only prints something, so that only unreadable files are errors.

    Raises:
        InputError: With all errors of the command line, the configuration, the data and the model. Hydra itself would
            stop at the first one.
    """
    with config_loader(Path(args.config_dir) if args.config_dir else None) as loader:
        if args.prints or args.cfg is not None or args.info is not None:
            with contextlib.suppress(HydraException):
                compose(loader, args.overrides)
            return None
        request, diagnostics = parse_request(loader, args.overrides, _command())
    if diagnostics:
        from embsweep.sweep.checks.preflight import check_request

        check_request(request, diagnostics)
    return request


def _run(request: SweepRequest) -> None:
    from embsweep.reports.summary import NextCommands, print_result
    from embsweep.sweep.run import run_sweep

    out = console()
    result = run_sweep(request, out)
    commands = NextCommands(request.command, _ui_command(request, result.store), _promote_command(request, result))
    print_result(out, result, commands)


def _ui_command(request: SweepRequest, store: str | None) -> str:
    """Return the command that shows this sweep, whose records are in `store`, in MLflow's UI."""
    uri = _find_uri(request, store)
    return f"open {uri}" if uri is not None and uri.startswith("http") else _store_command(request, uri, "ui")


def _promote_command(request: SweepRequest, result: Result) -> str:
    """Return the command that makes this sweep's winner champion if it passes the gate."""
    name = request.values["tracking"]["registered_model"] or request.values["sweep"]["name"]
    name = rehearsal_name(name) if result.evidence.rehearsal else name
    return _store_command(request, _find_uri(request, result.store), "promote", name)


def _find_uri(request: SweepRequest, store: str | None) -> str | None:
    """Return the URI that a command needs to find the records of this sweep; None if it finds them without one."""
    from embsweep.sweep.checks.inputs import find_storage
    from embsweep.tracking.location import environment_uri
    from embsweep.tracking.store import store_uri

    if store is None and environment_uri() is not None:  # the command would use that one
        return store_uri(find_storage(request.values, request.default_storage), None)
    return store


def _store_command(request: SweepRequest, uri: str | None, *arguments: str) -> str:
    path = request.values["storage"]["path"]
    storage = [] if path is None else ["--storage", path]
    return shlex.join([program("embsweep"), *arguments, *storage, *(["--uri", uri] if uri else [])])


def _command() -> str:
    """Return the command line that resumes the sweep, with secrets redacted and without `sweep.fresh`."""
    arguments = [a for a in sys.argv[1:] if not a.startswith("sweep.fresh=")]
    return redact(shlex.join([program("python"), "run_sweep.py", *arguments]))
