"""Redaction of secrets and escaping of control characters in texts, before these are logged, shown or stored."""

from __future__ import annotations

import json
import logging
import os
import re
from functools import cache
from urllib.parse import quote

_START = r"(?:\b|(?<=\\[nrt]))"
"""Start of a word, also after an escaped line end in the `repr` of a text."""

# Every repetition before a literal is possessive (`}+`): without a step back, the time is linear in the text's length.
_SCHEME = re.compile(r"\b[a-zA-Z][a-zA-Z0-9+.\-]{0,30}+://")
_REST = re.compile(r"\S*")
_HOST_AND_PORT = re.compile(r"(?:localhost|\[[^\]]*\]|[\w\-]+(?:\.[\w\-]+)+):\d{1,5}(?!\d)")
_KEYED = re.compile(
    r"(?i)(?P<key>(?:password|passwd|passphrase|secret|(?:api|access|secret|private|encryption)[_-]?key|"
    r"(?:auth|access|hf|session|security|tracking)[_-]?token|sig)\b['\"]?\s*[=:]\s*)"
    r"(?:'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"|['\"]?[^\s'\"&,;]+['\"]?)"
)
_PARAMETER = re.compile(r"(?i)(?P<key>(?:[?&]|\bx-(?:amz|goog)-)(?P<name>[\w.\-]{1,200}+)=)[^\s&'\"]+")
# `viewStateShareKey` names a saved view of MLflow.
_SIGNED = re.compile(r"(?i)(?:signature|credential|token|(?<!viewstateshare)key|auth|code|pwd|pass)$")
# A word has no capital or digit after its first letter; base64 and tokens of twelve characters have.
_HEADER = re.compile(
    rf"(?P<key>{_START}(?i:bearer|basic)\s+)[A-Za-z0-9+/_.\-](?=\S*[A-Z0-9+/=])[A-Za-z0-9+/_.\-]{{11,}}=*"
)
_TOKENS = re.compile(
    rf"{_START}(?:hf_[A-Za-z0-9]{{20,}}|gh[pousr]_[A-Za-z0-9]{{20,}}|github_pat_\w{{20,}}|glpat-[\w-]{{20,}}|"
    r"xox[abpr]-[\w-]{20,}|A[KS]IA[0-9A-Z]{16})\b"
)
_SECRET_NAME = re.compile(
    r"(?i)(?:password|passwd|secret|token|(?:api|access|private|secret|encryption)_?key|passphrase|credentials?)(?:_id)?$"
)
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_MARGIN_CHARS = 4096
_MIN_CHARS = 6
"""A shorter value is too short for a secret, and would mask ordinary words."""


def redact(text: str) -> str:
    """Mask secrets: user:password of URIs, values of keys such as `password=`, well-known tokens, headers.

    The values of this process's environment variables with such names (`MLFLOW_TRACKING_PASSWORD`, `HF_TOKEN`,
    `AWS_SECRET_ACCESS_KEY`, …) are masked wherever they occur. Call it before a text is shortened: part of a secret is
    not recognised (`bound` cuts a long one before, behind what is shown).

    >>> redact("postgresql://ann:hunter2@db/x")
    'postgresql://***@db/x'
    """
    for secret in _find_secrets():
        text = text.replace(secret, "***")
    masked = _PARAMETER.sub(_mask_signature, _mask_uris(text))
    masked = _HEADER.sub(r"\g<key>***", _KEYED.sub(r"\g<key>***", masked))
    return _TOKENS.sub("***", masked)


def bound(text: str, limit: int) -> str:
    """Cut a text far behind its first `limit` characters, so that a secret across that place is still recognised."""
    longest = max(map(len, _find_secrets()), default=0)
    return text[: limit + _MARGIN_CHARS + longest]


def escape_control_characters(text: str, *, one_line: bool = False) -> str:
    r"""Return `text` with control characters, changes of direction and lone surrogates escaped.

    Args:
        text: A text that may contain names and messages of others.
        one_line: Escape everything that is not printable, so that a name cannot begin a line.

    >>> print(escape_control_characters("a\x1b[2Jb"))
    a\x1b[2Jb
    """
    if one_line:
        return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return _STEERING.sub(lambda found: repr(found[0])[1:-1], text)


class RedactingFormatter(logging.Formatter):
    """Formatter of log records, tracebacks included, that masks secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as `logging.Formatter` does, and mask its secrets."""
        return redact(super().format(record))


def _mask_signature(parameter: re.Match[str]) -> str:
    return f"{parameter['key']}***" if _SIGNED.search(parameter["name"]) else parameter[0]


def _mask_uris(text: str) -> str:
    """Mask the credentials of every URI: from its scheme to the next space or scheme."""
    schemes = list(_SCHEME.finditer(text))
    parts, done = [], 0
    for index, scheme in enumerate(schemes):
        limit = schemes[index + 1].start() if index + 1 < len(schemes) else len(text)
        rest = _REST.match(text, scheme.end(), limit)
        end = rest.end() if rest else scheme.end()
        parts.append(text[done : scheme.end()] + _mask_credentials(text[scheme.end() : end]))
        done = end
    return "".join([*parts, text[done:]])


def _mask_credentials(rest: str) -> str:
    """Mask up to the last `@` if a user or password precedes it: unquoted ones may contain `/`, `@` and quotes."""
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    is_place = ":" not in authority or _HOST_AND_PORT.match(authority) is not None
    if "@" not in rest or ("@" not in authority and is_place):
        return rest
    last = rest.rindex("@") if ":" in authority else authority.rindex("@")
    return f"***{rest[last:]}"


@cache
def names_secret(name: str) -> bool:
    """Return whether an environment variable has the name of a secret."""
    return _SECRET_NAME.search(name) is not None


def _find_secrets() -> list[str]:
    """Return the values of variables with the name of a secret, plain and in all encodings; longest first."""
    found = {value for name, value in os.environ.items() if names_secret(name) and len(value) >= _MIN_CHARS}
    return sorted({form for value in found for form in _encode(value)}, key=len, reverse=True)


def _encode(value: str) -> tuple[str, ...]:
    """Return the plain value and its forms in a URL and inside the quotes of Python, JSON and the shell."""
    return (
        value,
        quote(value, safe=""),
        repr(value)[1:-1],
        json.dumps(value)[1:-1],
        value.replace("'", "'\"'\"'"),
    )
