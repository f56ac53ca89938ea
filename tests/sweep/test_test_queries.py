"""The file of the test queries: the largest changes first, hostile texts, damaged files."""

import json

import numpy as np
import pytest

from embsweep.data.collection import RetrievalSet
from embsweep.selection.evidence import BASE, WINNER
from embsweep.sweep import test_queries
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.test_queries import load_test_queries, save_test_queries
from tests.reports.evidence_samples import DIMS, make_evidence

HOSTILE = (
    "<script>alert(1)</script>",
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "x" * 10_000,
    "bell \x07, NUL \x00, next line \x85 and more",
    "\ud800 a lone surrogate",
    "\u2028 line separator </script>",
)
QUERIES = len(HOSTILE)


@pytest.fixture
def folder(tmp_path):
    return SweepFolder(tmp_path, "legal")


def make_set(texts):
    return RetrievalSet(
        "test", tuple(texts), tuple(f"{text} answer" for text in texts), tuple((i,) for i in range(QUERIES))
    )


def test_queries_are_sorted_by_change_and_hostile_texts_are_valid_json(folder):
    evidence = make_evidence(queries=QUERIES, slices=("en", "de") * 3)
    save_test_queries(folder, evidence, make_set(HOSTILE), texts=True)
    json.loads(folder.test_queries.read_bytes().decode("utf-8", "strict"))
    found = load_test_queries(folder)
    base, winner = (evidence.test[name].per_query[DIMS[0]] for name in (BASE, WINNER))
    assert [r.position for r in found.queries] == list(np.argsort(-abs(winner - base), kind="stable"))
    for record in found.queries:
        assert (record.base, record.winner) == (base[record.position], winner[record.position])
        assert record.slice == evidence.slices[record.position]
        assert record.base_rank is None, "older evidence has no ranks"
    texts = {record.position: (record.query, record.passage) for record in found.queries}
    assert texts[0] == (HOSTILE[0], f"{HOSTILE[0]} answer")
    assert texts[2] == ("x" * 300 + "…",) * 2
    assert texts[3][0] == "bell , NUL , next line and more"
    assert texts[4][0] == "a lone surrogate"


def test_what_is_left_out_is_counted(folder, monkeypatch):
    monkeypatch.setattr(test_queries, "MOST_QUERIES", 2)
    evidence = make_evidence(queries=QUERIES)
    ranks = {name: record.model_copy(update={"ranks": (1, 2, 3, 0, 5, 6)}) for name, record in evidence.test.items()}
    save_test_queries(folder, evidence.model_copy(update={"test": ranks}), make_set("abcdef"), texts=True)
    found = load_test_queries(folder)
    assert (found.total, found.left_out, len(found.queries)) == (6, 4, 2)
    assert [r.winner_rank for r in found.queries] == [(1, 2, 3, 0, 5, 6)[r.position] for r in found.queries]


def test_without_texts_there_is_no_file_and_a_damaged_one_is_none(folder):
    evidence = make_evidence(queries=QUERIES)
    assert load_test_queries(folder) is None
    save_test_queries(folder, evidence, make_set("abcdef"), texts=True)
    folder.test_queries.write_bytes(folder.test_queries.read_bytes()[:-9])
    assert load_test_queries(folder) is None
    save_test_queries(folder, evidence, make_set("abcdef"), texts=False)
    assert not folder.test_queries.exists()
