"""`data.slice` and `report.texts` in a sweep: what is written, and what the same command changes later."""

import json

import pytest

from embsweep.selection.slices import compare_slices
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.test_queries import load_test_queries
from embsweep.tracking.connection import connect

SWEEP = ("search.trials=1", "sweep.name=mine")


@pytest.fixture(scope="module")
def sliced_pairs(pairs, tmp_path_factory):
    """File of the pairs with a column of two languages."""
    path = tmp_path_factory.mktemp("sliced") / "my.jsonl"
    rows = [json.loads(line) for line in pairs.read_text("utf-8").splitlines()]
    texts = [json.dumps({**row, "lang": ("en", "de")[n // 2 % 2]}) for n, row in enumerate(rows)]
    path.write_text("\n".join(texts), "utf-8")
    return path


@pytest.mark.slow
def test_slices_are_added_to_a_finished_sweep_and_texts_are_written_and_deleted(launch, sliced_pairs, tmp_path):
    sweep, folder = (*SWEEP, f"data.pairs={sliced_pairs}"), SweepFolder(tmp_path, "mine")
    first, _ = launch(*sweep, "report.texts=false")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"mlflow.db", "evidence.json", "study.db", "README.md"} <= {path.name for path in written}
    assert [path for path in written if b"is kept in room" in path.read_bytes()] == [], "a text of the data"
    assert first.evidence.slices == ()
    assert first.report is None, "report.at_end is false in these tests"

    later, output = launch(*sweep, "data.slice=lang")
    assert "is finished; this is its result" in output
    assert set(later.evidence.slices) == {"en", "de"}
    assert {result.name for result in compare_slices(later.evidence)} == {"en", "de"}
    assert (later.registered, later.evidence.holdout_evaluations) == (first.registered, 1)
    assert len(connect(f"sqlite:///{tmp_path}/mlflow.db").search_model_versions("name = 'mine'")) == 1
    found = load_test_queries(folder)
    assert found.total == len(later.evidence.groups) == len(found.queries)
    assert [r.slice for r in found.queries] == [later.evidence.slices[r.position] for r in found.queries]
    assert all("is kept in room" in record.passage for record in found.queries)

    folder.evidence.unlink()  # the sweep is finalised again
    rebuilt, _ = launch(*sweep, "data.slice=lang")
    assert rebuilt.evidence.slices == later.evidence.slices
    assert (rebuilt.registered, rebuilt.evidence.holdout_evaluations) == (first.registered, 1)

    again, _ = launch(*sweep, "data.slice=lang", "report.texts=false")
    assert again == rebuilt, "the stored result is valid"
    assert not folder.test_queries.exists()
