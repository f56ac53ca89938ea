"""Lines as they are: no wrapping and no markup, so that commands can be copied."""

from __future__ import annotations

from rich.console import Console


class PlainLines:
    """Prints each text that it is called with."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, text: str) -> None:
        """Print `text`."""
        self._console.print(text, soft_wrap=True, highlight=False, markup=False)
