"""The log without secrets."""

from __future__ import annotations

import logging

from embsweep.redaction import redact

__all__ = ["RedactingFormatter", "redact"]


class RedactingFormatter(logging.Formatter):
    """Log records, their tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return redact(super().format(record))
