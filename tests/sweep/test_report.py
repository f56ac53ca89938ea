"""The report of a real sweep: written at its end, by the command, and as an artifact; never at the sweep's expense."""

import hashlib
import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from embsweep.cli.report import report_request
from embsweep.core.errors import InputError, TooManyFailures, TrialFailed
from embsweep.reports.html import pictures
from embsweep.selection.evidence import WINNER
from embsweep.sweep import report as reporting
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.report import describe_commit, gather_report, try_report
from embsweep.sweep.sync import sync_sweep
from embsweep.tracking.store import open_store
from tests.reports.report_pages import Page, draw_nothing, prose

pytestmark = pytest.mark.slow
AT_END = "report.at_end=true"


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    """Draw no chart: each test would take seconds."""

    def stand_in(function, specs, snippet):
        drawn = draw_nothing(specs)
        return list(drawn.svgs), drawn.script

    monkeypatch.setattr(pictures, "run_in_subprocess", stand_in)


def request_report(storage, *names, **changes):
    """Run `embsweep report`; return what it prints."""
    out = io.StringIO()
    values = {"output": None, "texts": True, **changes}
    names = (*names, None)[:2]
    report_request(*names, storage=storage, console=Console(file=out, width=200), **values)
    return out.getvalue()


def find_artifact(storage, store=None):
    """Return the report in MLflow."""
    store = store or open_store(storage, uri=None, experiment="embsweep")
    (run,) = store.client.search_runs([store.experiment_id], "tags.`embsweep.role` = 'sweep'")
    return Path(store.client.download_artifacts(run.info.run_id, "report.html")).read_text("utf-8")


def test_a_sweep_writes_its_report_and_mlflow_has_it(launch, tmp_path):
    result, output = launch(AT_END)
    path = tmp_path / "sweeps/quickstart/report.html"
    assert result.report == str(path)
    page = path.read_text("utf-8")
    assert find_artifact(tmp_path) == page
    text, evidence = prose(page), result.evidence
    assert f"Trial {evidence.verdict.winner} leads the search but was not run again" in text
    assert "embsweep promote quickstart --storage" in text
    rows = Page(page).tables["quality"][1:]
    assert [row[1] for row in rows] == [
        evidence.test[WINNER].scores[dim]["map@100"] for dim in sorted(evidence.dims, reverse=True)
    ]
    assert evidence.data.fingerprint in text
    assert "Where is the " in text
    folder = SweepFolder(tmp_path, "quickstart")
    before = hashlib.sha256(folder.ledger.read_bytes()).hexdigest()
    elsewhere = tmp_path / "elsewhere.html"
    assert str(elsewhere) in request_report(tmp_path, "quickstart", output=elsewhere, texts=False)
    assert hashlib.sha256(folder.ledger.read_bytes()).hexdigest() == before
    assert "Where is the " not in elsewhere.read_text("utf-8")
    assert page == path.read_text("utf-8")
    with pytest.raises(InputError, match="no such sweep"):
        request_report(tmp_path, "quickstrat")
    assert "report-and-quickstart.html" in request_report(tmp_path, "quickstart", "quickstart")
    other = open_store(tmp_path, uri=f"sqlite:///{tmp_path}/other.db", experiment="embsweep", is_first=True)
    sync_sweep(folder, uri=f"sqlite:///{tmp_path}/other.db", experiment=None, say=print)
    assert find_artifact(tmp_path, other) == page

    again, output = launch(AT_END, "report.texts=false")
    assert "is finished" in output
    assert "Where is the " not in path.read_text("utf-8")
    assert "Where is the " not in find_artifact(tmp_path)
    assert again.report == str(path)

    data = gather_report(folder, default_storage=tmp_path)
    assert data.commands.promote == "embsweep promote quickstart"
    assert data.evidence.verdict.winner in {trial.number for trial in data.history.trials}
    folder.evidence.write_text("{}")
    assert gather_report(folder, default_storage=tmp_path).evidence is None, "it was altered"


def test_a_report_that_cannot_be_written_is_said_and_does_not_raise(tmp_path, monkeypatch):
    def fail(*_args, **_more):
        raise ValueError("no such mark")

    monkeypatch.setattr(reporting, "gather_report", fail)
    said, ledger = [], SimpleNamespace(metadata={})
    folder = SweepFolder(tmp_path, "legal")
    assert try_report(folder, ledger, default_storage=tmp_path, texts=True, say=said.append) is None
    assert said == ["The report was not written (ValueError: no such mark); `embsweep report legal` tries again."]


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({}, "none: not started in a git work tree"),
        ({"embsweep.git.dirty": "true"}, "0a1b, with changes that are not committed"),
        ({"embsweep.git.dirty": "false"}, "0a1b, no other changes"),
        ({"embsweep.git.dirty": "unknown"}, "0a1b, not known whether files had changed"),
    ],
)
def test_the_commit_is_never_called_clean_if_that_is_not_known(tags, said):
    assert describe_commit({"mlflow.source.git.commit": "0a1b", **tags} if tags else {}) == said


def test_a_sweep_that_fails_leaves_a_report_of_how_far_it_came(launch, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise TrialFailed("not-supported", "no such <kernel>")

    monkeypatch.setattr("embsweep.training.trial.resolve_for_this_process", refuse)
    with pytest.raises(TooManyFailures):
        launch(AT_END, "sweep.max_failed_trials=1")
    text = prose((tmp_path / "sweeps/quickstart/report.html").read_text("utf-8"))
    assert "This sweep has failed. 2 of 3 trials have ended (2 failed)." in text
    assert "no such <kernel>" in text
    assert "This sweep has failed" in prose(find_artifact(tmp_path))
