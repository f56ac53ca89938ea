"""Secrets out of texts before anybody else can read them."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote

# The second form is no URI, and typed all the same: a password with a bare slash. `host:5000/a@b` is none.
_CREDENTIALS = re.compile(
    r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.\-]*://)(?:[^/\s'\"]*@|[^/\s:'\"@]*:(?!\d+(?:/|$))[^\s'\"@]*@)"
)
_KEYED = re.compile(
    r"(?i)(?P<key>\b[\w.\-]*(?:password|passwd|secret|api[_-]?key|access[_-]?key|"
    r"(?:auth|access|hf|session)[_-]?token|sig)\b['\"]?\s*[=:]\s*)"
    r"['\"]?[^\s'\"&,;]+['\"]?"
)
# A word has no capital or digit within; base64 and tokens of twelve characters have.
_HEADER = re.compile(r"(?P<key>\b(?i:bearer|basic)\s+)[A-Za-z0-9+/_.\-](?=\S*[A-Z0-9+/=])[A-Za-z0-9+/_.\-]{11,}=*")
_TOKENS = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})\b")
_SECRET_NAME = re.compile(
    r"(?i)(?:password|passwd|secret|token|api_?key|access_?key|private_?key|credentials?)(?:_id)?$"
)
_MIN_CHARS = 6
"""A shorter value is no secret that anybody could keep, and would mask ordinary words."""


def redact(text: str) -> str:
    """`text` without secrets: user:password of URIs, values of keys such as `password=`, well-known tokens, headers.

    And whatever this process was given in an environment variable of such a name (`MLFLOW_TRACKING_PASSWORD`,
    `HF_TOKEN`, `AWS_SECRET_ACCESS_KEY`, …), wherever it stands.

    >>> redact("postgresql://ann:hunter2@db/x")
    'postgresql://***@db/x'
    """
    for secret in _find_secrets(os.environ):
        text = text.replace(secret, "***")
    masked = _CREDENTIALS.sub(r"\g<scheme>***@", text)
    masked = _HEADER.sub(r"\g<key>***", _KEYED.sub(r"\g<key>***", masked))
    return _TOKENS.sub("***", masked)


class RedactingFormatter(logging.Formatter):
    """Log records, their tracebacks included, without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return redact(super().format(record))


def _find_secrets(environment: Mapping[str, str]) -> Iterator[str]:
    """Values of variables that hold a secret by their name, as they are and as they stand in a URL; longest first."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name) and len(value) >= _MIN_CHARS}
    yield from sorted(found | {quote(value, safe="") for value in found}, key=len, reverse=True)
