"""Reading of text files: compression, encoding, and a diagnostic for each kind of broken line."""

from __future__ import annotations

import codecs
import gzip
import re
import unicodedata
import zlib
from collections.abc import Sequence
from pathlib import Path

from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sizes import fits, most_bytes

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32",  # before UTF-16: UTF-16's mark is a prefix of this one
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_OTHER_SCRIPTS = ("cp1251", "cp1253", "cp1255", "cp1256", "cp874", "cp932", "gbk", "big5", "cp949")
"""Encodings of spreadsheets in scripts other than Latin: most of a text's bytes are above 127."""

_MOST_LATIN = 0.2
"""Share of bytes above 127 up to which a text may be of a Latin script."""

_NOT_WESTERN = re.compile(r"[^\W\d_][¹²³¼½¾¿¡£¥¶±¦¤]+[^\W\d_]|[þðýÞÐÝ]|[\x80-\x9f]")
"""What Polish, Czech, Turkish, … become if they are read as cp1252: signs within words, Icelandic letters."""

_ASCII = bytes(range(128))
_SAMPLE = 65_536
_BEGINNING = 64

_NAMES = "cp1252 (Western), cp1250 (Polish, Czech, Hungarian), cp1254 (Turkish), cp1251 (Cyrillic), mac_roman, …"


def read_text_file(path: Path, diagnostics: DiagnosticList, encoding: str | None = None) -> str:
    """Read a text file, UTF-8 unless `encoding` names another, without its byte-order mark; line ends are kept.

    A file whose name ends in `.gz` is decompressed. Invalid UTF-8 and NUL characters are recorded as diagnostics, line
    by line, and replaced, so that the caller can continue and find further errors. An unreadable or empty file, or one
    in another encoding, gives an empty text and one diagnostic.
    """
    data = _read_bytes(path, diagnostics)
    if encoding is not None:
        return _decode_named(data, path.name, encoding, diagnostics)
    mark = _find_mark(data)
    if mark is not None:
        diagnostics.add(
            "not-utf8",
            f"{path.name}:1",
            f"is encoded as {mark}",
            expected="UTF-8",
            hint=f"save the file as UTF-8, or data.encoding={mark.lower()}",
        )
        return ""
    return _decode(data.removeprefix(codecs.BOM_UTF8), path.name, diagnostics)


def read_table_text(path: Path, diagnostics: DiagnosticList, encoding: str | None = None) -> tuple[str, str | None]:
    """Read a text file as spreadsheets write them, and detect its encoding unless `encoding` names it.

    A byte-order mark decides; then valid UTF-8. Another text is cp1252 if it looks like a Western language, or the code
    page that charset-normalizer finds if most of its characters are of another script. If neither fits, or a file mixes
    UTF-8 with something else, it is refused like other text files.

    Returns:
        The text, and the encoding if it is not UTF-8.
    """
    data = _read_bytes(path, diagnostics)
    found = encoding or (_find_mark(data) or "").lower() or _detect(data)
    if found is None:
        return _decode(data.removeprefix(codecs.BOM_UTF8), path.name, diagnostics), None
    return _decode_named(data, path.name, found, diagnostics), found


def read_beginning(path: Path) -> bytes:
    """Return the first bytes of a file, decompressed if its name ends in `.gz`; none if they cannot be read."""
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            return file.read(_BEGINNING)
    except (OSError, EOFError, zlib.error):  # reported by the reader
        return b""


def _read_bytes(path: Path, diagnostics: DiagnosticList) -> bytes:
    limit = most_bytes()
    try:
        if not fits(path.stat().st_size, path.name, diagnostics):
            return b""
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            data = file.read() if limit is None else file.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        code = "bad-format" if path.suffix.lower() == ".gz" and not getattr(error, "errno", None) else "unreadable"
        diagnostics.add(code, path.name, f"cannot be read: {reason}", str(path))  # type: ignore[arg-type]
        return b""
    if limit is not None and len(data) > limit:  # a compressed file, or one that grows
        fits(limit, path.name, diagnostics, is_more=True)
        return b""
    if not data.removeprefix(codecs.BOM_UTF8).strip():
        diagnostics.add("empty", path.name, "is empty")
        return b""
    return data


def _find_mark(data: bytes) -> str | None:
    return next((name for mark, name in _MARKS.items() if data.startswith(mark)), None)


def _decode_named(data: bytes, name: str, encoding: str, diagnostics: DiagnosticList) -> str:
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except (UnicodeError, LookupError) as error:
        line = data[: error.start].count(b"\n") + 1 if isinstance(error, UnicodeDecodeError) else 1
        problem, hint = f"is not encoded as {encoding}", f"data.encoding=null detects it; or {_NAMES}"
        diagnostics.add("not-utf8", f"{name}:{line}", problem, hint=hint)
        return ""
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        diagnostics.add("bad-character", f"{name}:{line}", "holds a NUL character", expected=f"text in {encoding}")
    return text.replace("\0", "\ufffd")


def _detect(data: bytes) -> str | None:
    """Return the code page of a text that is not UTF-8, or None if it is UTF-8 or no code page fits."""
    lines = [line for line in data.split(b"\n") if not line.isascii()]
    if b"\0" in data or not lines or any(map(_is_utf8, lines)):
        return None
    sample = b"\n".join(lines)[:_SAMPLE]
    high = len(sample.translate(None, _ASCII)) / len(sample)
    return _detect_script(sample) if high > _MOST_LATIN else _detect_western(lines)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _detect_western(lines: Sequence[bytes]) -> str | None:
    try:
        text = b"\n".join(lines).decode("cp1252")
    except UnicodeDecodeError:
        return None
    letters = sum(unicodedata.category(character)[0] == "L" for character in text if not character.isascii())
    return "cp1252" if letters and not _NOT_WESTERN.search(text) else None


def _detect_script(sample: bytes) -> str | None:
    from charset_normalizer import from_bytes

    best = from_bytes(sample, cp_isolation=list(_OTHER_SCRIPTS)).best()
    return None if best is None else best.encoding


def _decode(data: bytes, name: str, diagnostics: DiagnosticList) -> str:
    for number, line in enumerate(data.split(b"\n"), 1):
        try:
            line.decode("utf-8")
        except UnicodeDecodeError as error:
            broken, problem = line[error.start : error.start + 1], f"is not UTF-8 at byte {error.start + 1}"
            diagnostics.add(
                "not-utf8",
                f"{name}:{number}",
                problem,
                broken,
                hint=f"save the file as UTF-8, or name its encoding: data.encoding={_NAMES}",
            )
        if b"\0" in line:
            hint = "every second byte of UTF-16 is one: data.encoding=utf-16-le"
            diagnostics.add(
                "bad-character", f"{name}:{number}", "holds a NUL character", expected="text in UTF-8", hint=hint
            )
    return data.decode("utf-8", errors="replace").replace("\0", "\ufffd")
