"""Terminal output: environment of quiet libraries, the console, and errors as messages with exit codes."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from embsweep.cli.signals import handle_signals
from embsweep.core.environment import set_default_environment
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.core.files import is_disk_full_error
from embsweep.core.redaction import escape_control_characters, redact
from embsweep.reports.text import TABLE_STYLE, plain_printer


def quiet_environment() -> None:
    """Disable progress bars and telemetry of libraries, and flush stdout after each line.

    Call it before any of these libraries is imported. Variables that the user has set are not changed.
    """
    set_default_environment()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # so that `tail -f` on a log shows each line at once


class _SafeConsole(Console):
    """Console of all output: secrets are masked, and names from elsewhere cannot control the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render as `Console.render` does, with secrets of texts masked and control characters escaped."""
        if isinstance(renderable, str):
            renderable = redact(renderable)
        elif isinstance(renderable, Text) and (masked := redact(renderable.plain)) != renderable.plain:
            renderable = Text(masked, renderable.style)
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=escape_control_characters(segment.text))


def console(*, stderr: bool = False) -> Console:
    """Build a console for stdout, or for stderr.

    Output that does not go to a terminal is not wrapped. No text is read as markup: names and messages of others may
    contain brackets.
    """
    stream = sys.stderr if stderr else sys.stdout
    is_terminal = stream.isatty()
    return _SafeConsole(
        file=stream, width=None if is_terminal else 160, soft_wrap=not is_terminal, markup=False, emoji=False
    )


def number_table(*columns: str, texts: int = 1) -> Table:
    """Build a table of numbers, aligned to the right.

    Args:
        *columns: Headings of the columns.
        texts: How many of the first columns contain text, aligned to the left.
    """
    headers = (
        Column(name, justify="left" if index < texts else "right", no_wrap=True) for index, name in enumerate(columns)
    )
    return Table(*headers, **TABLE_STYLE)


@contextmanager
def exit_codes(resume: str | None = None) -> Iterator[None]:
    """Print errors of the body as messages and exit with their exit code; a defect keeps its traceback.

    Exit codes: 2 invalid input, 3 too many failed trials, 4 refused by the gate, 130 interrupted, 143 terminated, 129
    by a terminal that was closed, 1 any other `EmbsweepError` or a full disk. SIGTERM, with which batch systems and
    service managers end a process, has the effect of Ctrl-C; a second signal exits immediately.

    Args:
        resume: The command that resumes the work; it is part of the message after an interruption or on a full disk.

    Raises:
        SystemExit: If the body raised an `EmbsweepError`, a `KeyboardInterrupt` or the error of a full disk.
    """
    try:
        with handle_signals(lambda: _interrupted("Forced exit", resume)) as shutdown:
            yield
    except InputError as error:
        count = sum(diagnostic.count for diagnostic in error.diagnostics)
        heading = f"{count:,} error{'s' if count > 1 else ''}; nothing was started:"
        _exit("\n  - ".join([heading, *map(str, error.diagnostics)]), error.exit_code)
    except EmbsweepError as error:
        _exit(str(error), error.exit_code)
    except Exception as error:  # sqlite, torch and safetensors each raise a type of their own if a disk is full
        if not is_disk_full_error(str(error)):
            raise
        _exit(_interrupted(f"A disk is full ({error}): free some space", resume), EmbsweepError.exit_code)
    except KeyboardInterrupt:
        _exit(_interrupted("Interrupted", resume), shutdown.exit_code or 130)


def _interrupted(what: str, resume: str | None) -> str:
    return f"{what}. Finished trials are kept; resume with: {resume}" if resume else f"{what}."


def _exit(text: str, code: int) -> NoReturn:
    plain_printer(console(stderr=True))(text)
    sys.exit(code)
