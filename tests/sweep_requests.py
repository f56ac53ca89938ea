"""The request of a valid command line."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.config_loader import ConfigLoader

from embsweep.cli.composition.request import parse_request
from embsweep.core.errors import InputError
from embsweep.sweep.request import SweepRequest


def read_request(loader: ConfigLoader, lines: Sequence[str], command: str) -> SweepRequest:
    """Build the request as `parse_request` does; raise its diagnostics as InputError."""
    request, diagnostics = parse_request(loader, lines, command)
    if diagnostics:
        raise InputError(diagnostics)
    return request
