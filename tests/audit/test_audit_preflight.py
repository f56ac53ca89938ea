"""The audit before a sweep: its errors are listed with all diagnostics; waived errors are logged to the run."""

import json

import pytest
from made_up import make_rows

from embsweep.cli.composition.request import read_request
from embsweep.core.errors import InputError
from embsweep.runners.resources import Machine
from embsweep.sweep.checks.preflight import check_request
from embsweep.sweep.run_metadata import compute_identity


@pytest.fixture
def request_for(loader, tmp_path, monkeypatch):
    """Return a function that requests a quickstart on a file of these rows: request_for(rows, *overrides)."""
    monkeypatch.setattr("embsweep.runners.base.inspect_machine", lambda: Machine(2, 0))
    monkeypatch.setattr("embsweep.sweep.checks.preflight.has_usable_gpu", lambda: False)

    def make(rows, *overrides):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps({"anchor": q, "positive": p}) + "\n" for q, p in rows), "utf-8")
        data = ["data=files", f"data.pairs={path}", "data.anchor=anchor", "data.positive=positive"]
        fixed = ["+sweep=quickstart", *data, f"storage.path={tmp_path}", "train.batch_size=8", *overrides]
        return read_request(loader, fixed, "python run_sweep.py")

    return make


def locations_of(request):
    with pytest.raises(InputError) as caught:
        check_request(request)
    return [diagnostic.location for diagnostic in caught.value.diagnostics]


SWAPPED = [(passage, query) for query, passage in make_rows(80)]


@pytest.mark.slow
def test_valid_data_passes_with_its_report(request_for):
    prepared = check_request(request_for(make_rows(80)))
    assert prepared.audit.of("error") == ()
    assert prepared.audit.figures.corpus == 80
    assert prepared.audit.figures.batch.batch_size == 8


@pytest.mark.slow
def test_errors_are_listed_with_the_other_diagnostics(request_for):
    locations = locations_of(request_for(SWAPPED, "train.batch_size=100", "audit.waive=[no-such-finding]"))
    assert {"audit.columns-swapped", "train.batch_size", "audit.waive"} <= set(locations)


@pytest.mark.slow
def test_a_waived_error_lets_the_sweep_start(request_for):
    prepared = check_request(request_for(SWAPPED, "audit.waive=[columns-swapped]"))
    assert prepared.audit.waived == ("columns-swapped",)


@pytest.mark.slow
def test_the_audit_covers_the_rows_that_are_used(request_for):
    rows = [*make_rows(60), ("—", "…"), ("–", "...")]
    prepared = check_request(request_for(rows, "data.max_pairs=30", "audit.waive=[empty-texts]"))
    assert sum(size.rows for size in prepared.audit.figures.sizes) == 30


@pytest.mark.slow
def test_a_waiver_does_not_change_the_identity_of_a_sweep(request_for):
    identities = []
    for overrides in ([], ["audit.waive=[columns-swapped]"]):
        request = request_for(make_rows(80), *overrides)
        prepared = check_request(request)
        identities.append(compute_identity(prepared.recipe, request.space, prepared.splits.fingerprint))
    assert identities[0] == identities[1]


@pytest.mark.slow
def test_mlflow_gets_report_and_waiver(request_for):
    from embsweep.sweep.run_metadata import describe_sweep

    request = request_for(SWAPPED, "audit.waive=[columns-swapped]")
    facts = describe_sweep(request, check_request(request))
    assert facts["tags"]["embsweep.audit.errors"] == facts["tags"]["embsweep.audit.waived"] == "columns-swapped"
    text = facts["texts"]["audit/audit.json"]
    written = json.loads(text)
    assert written["waived"] == ["columns-swapped"]
    assert [f["name"] for f in written["findings"] if f["waived"]] == ["columns-swapped"]
    assert not [words for row in SWAPPED for words in row if words in text]


@pytest.mark.slow
def test_split_sizes(request_for):
    from embsweep.sweep.run_metadata import split_sizes

    splits = check_request(request_for(make_rows(80))).splits
    assert split_sizes(splits) == {"train_pairs": 64, "validation_queries": 8, "test_queries": 8, "passages": 80}
