"""Secrets out of texts before anybody else can read them."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(r"(?P<scheme>\b[a-zA-Z][a-zA-Z0-9+.\-]*://)[^/\s'\"]*@")
_KEYED = re.compile(
    r"(?i)(?P<key>\b[\w.\-]*(?:password|passwd|secret|api[_-]?key|access[_-]?key|auth[_-]?token|sig)\b['\"]?\s*[=:]\s*)"
    r"['\"]?[^\s'\"&,;]+['\"]?"
)
_TOKENS = re.compile(r"\b(?:hf_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16})\b")


def redact(text: str) -> str:
    """`text` with user:password of URIs, values of keys such as `password=`, and well-known tokens masked.

    >>> redact("postgresql://ann:hunter2@db/x")
    'postgresql://***@db/x'
    """
    masked = _CREDENTIALS.sub(r"\g<scheme>***@", text)
    return _TOKENS.sub("***", _KEYED.sub(r"\g<key>***", masked))
