"""The terminal: quiet libraries, one console, errors as messages with exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from embsweep.cli.signals import handle_signals
from embsweep.core.environment import set_default_environment
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.core.files import is_disk_full_error
from embsweep.core.redaction import redact
from embsweep.core.terminal_text import escape_control_characters


def quiet_environment() -> None:
    """Before any library is imported: no progress bars, no telemetry, no held-back lines. What the user set stays."""
    set_default_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log that is followed shows each line at once


class _SafeConsole(Console):
    """Names out of data, registries and servers reach the terminal as text and never as commands to it."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """See `Console.render`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_control_characters(segment.text))


def console(*, stderr: bool = False) -> Console:
    """Where to print. Output that is no terminal is never wrapped."""
    stream = sys.stderr if stderr else sys.stdout
    return _SafeConsole(file=stream, width=None if stream.isatty() else 160, soft_wrap=not stream.isatty())


@contextmanager
def exit_codes(resume: str | None = None) -> Iterator[None]:
    """Turn errors into messages, and leave with their exit code. A defect keeps its traceback.

    2 bad input, 3 too many failed trials, 4 refused by the gate, 130 interrupted, 143 terminated, 1 anything else of
    ours. SIGTERM, by which batch systems and service managers end a process, leaves as Ctrl-C does; a second one of
    either leaves at once. `resume` is the command that goes on.
    """
    try:
        with handle_signals(lambda: _interrupted("Left at once", resume)) as shutdown:
            yield
    except InputError as error:
        count = sum(diagnostic.count for diagnostic in error.diagnostics)
        _say(f"{count:,} thing{'s' if count > 1 else ''} to mend; nothing was started:")
        for diagnostic in error.diagnostics:
            _say(f"  - {diagnostic}")
        sys.exit(error.exit_code)
    except EmbsweepError as error:
        _say(str(error))
        sys.exit(error.exit_code)
    except Exception as error:  # sqlite, torch and safetensors each raise their own where a disk is full
        if not is_disk_full_error(str(error)):
            raise
        _say(_interrupted(f"A disk is full ({error}): free some space", resume))
        sys.exit(EmbsweepError.exit_code)
    except KeyboardInterrupt:
        _say(_interrupted("Interrupted", resume))
        sys.exit(shutdown.exit_code())


def _interrupted(what: str, resume: str | None) -> str:
    return f"{what}. Finished trials are kept; go on with: {resume}" if resume else f"{what}."


def _say(text: str) -> None:
    console(stderr=True).print(redact(text), soft_wrap=True, highlight=False, markup=False)
