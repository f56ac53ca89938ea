"""JSON lines: one object a line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embsweep.data.faults import FaultList
from embsweep.data.text import read_text_file


class _RepeatedKey(ValueError):
    pass


def read_objects(path: Path, faults: FaultList) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (`name:line`, object) of every line that holds one; record a fault for every other line.

    Lines of white space hold nothing and are passed over. Lines end with a line feed only: U+2028 and its
    kin may stand inside a JSON text.
    """
    for number, line in enumerate(read_text_file(path, faults).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path.name}:{number}"
        row = _parse_line(line, where, faults)
        if row is not None:
            yield where, row


def _parse_line(line: str, where: str, faults: FaultList) -> dict[str, Any] | None:
    try:
        row = json.loads(line, object_pairs_hook=_to_object)
    except _RepeatedKey as error:
        faults.add("duplicate-column", where, f"key '{error}' stands there more than once", accepted="each key once")
    except json.JSONDecodeError as error:
        faults.add(
            "bad-format",
            where,
            f"is not valid JSON: {error.msg} at column {error.colno}",
            line,
            fix="one JSON object a line",
        )
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a thousand nested lists
        faults.add("bad-format", where, f"is not JSON that can be read: {error}", line)
    else:
        if isinstance(row, dict):
            return row
        fix = "one JSON object a line; `jq -c '.[]'` turns one array into such lines"
        faults.add(
            "wrong-type",
            where,
            "is not a JSON object",
            line,
            accepted='an object such as {"anchor": …, "positive": …}',
            fix=fix,
        )
    return None


def _to_object(items: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(items)
    if len(found) < len(items):
        counts = Counter(name for name, _ in items)
        raise _RepeatedKey(next(name for name, count in counts.items() if count > 1))
    return found
