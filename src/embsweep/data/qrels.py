"""Judgements of a BEIR folder: query id, passage id and score, separated by tabs, with or without a header."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from embsweep.data.faults import FaultList
from embsweep.data.text import read_text_file

_SCORE = re.compile(r"[+-]?[0-9]{1,9}")
_HEADER_STARTS = ("query-id", "query_id", "qid", "query")
_HEADER_ENDS = ("score", "relevance", "rel", "label")


@dataclass
class Qrels:
    """(query id, passage id) → `name:line` of its judgement, for all judgements and for the relevant ones."""

    judged: dict[tuple[str, str], str] = field(default_factory=dict)
    relevant: dict[tuple[str, str], str] = field(default_factory=dict)
    not_relevant: int = 0
    repeated: int = 0
    """Lines that say again what an earlier one said."""


def read_qrels(path: Path, faults: FaultList) -> Qrels:
    """Every judgement of the file; a score above 0 means relevant. Records each line that is no judgement."""
    qrels = Qrels()
    before = len(faults)
    lines = read_text_file(path, faults).split("\n")
    scores: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, 1):
        fields = [part.strip() for part in line.split("\t")]
        if not line.strip() or (number == 1 and _is_header(fields)):
            continue
        where = f"{path.name}:{number}"
        score = _read_score(fields, where, faults)
        if score is None:
            continue
        key = (fields[0], fields[1])
        if scores.setdefault(key, score) != score:
            faults.add(
                "conflict",
                where,
                "judged before with another score",
                score,
                accepted=f"{scores[key]}, or one line only",
            )
        _keep(qrels, key, score, where)
    if not qrels.judged and len(faults) == before:
        faults.add(
            "no-rows", path.name, "holds no judgements", accepted="query id, passage id, score, separated by tabs"
        )
    return qrels


def _is_header(fields: list[str]) -> bool:
    return fields[0].lower() in _HEADER_STARTS and fields[-1].lower() in _HEADER_ENDS


def _read_score(fields: list[str], where: str, faults: FaultList) -> int | None:
    if len(fields) != 3:
        accepted = "query id, passage id, score, separated by tabs"
        faults.add("wrong-length", where, f"has {len(fields)} fields", "\t".join(fields), accepted=accepted)
        return None
    if not (fields[0] and fields[1]):
        faults.add("missing-id", where, "an id is empty", "\t".join(fields))
        return None
    if not _SCORE.fullmatch(fields[2]):
        faults.add(
            "wrong-type", where, "the score is not an integer", fields[2], accepted="an integer; above 0 means relevant"
        )
        return None
    return int(fields[2])


def _keep(qrels: Qrels, key: tuple[str, str], score: int, where: str) -> None:
    if key in qrels.judged:
        qrels.repeated += 1
        return
    qrels.judged.setdefault(key, where)
    if score > 0:
        qrels.relevant.setdefault(key, where)
    else:
        qrels.not_relevant += 1
