"""`embsweep audit`: a real set with several queries per passage, and data with deliberate errors."""

import io
import json
from contextlib import nullcontext

import pytest
from made_up import make_rows
from rich.console import Console
from tests.refusals import raises_diagnostics
from tests.texts import numbers_in
from typer.testing import CliRunner

from embsweep.cli.audit import audit
from embsweep.cli.commands import app

XQUAD = ("data=beir", "model=minilm", "train.batch_size=32")


pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def one_hydra(loader, monkeypatch):
    """Make the command use the session's loader instead of opening another."""
    monkeypatch.setattr("embsweep.cli.inputs.config_loader", lambda: nullcontext(loader))


@pytest.fixture
def embsweep():
    def run(*arguments):
        return CliRunner().invoke(app, ["audit", *map(str, arguments)])

    return run


@pytest.fixture
def pairs(tmp_path):
    """Return a function that writes rows to a file and returns the overrides that read it: pairs(rows)."""

    def write(rows):
        path = tmp_path / "pairs.jsonl"
        path.write_text("".join(json.dumps({"anchor": q, "positive": p}) + "\n" for q, p in rows), "utf-8")
        return ("data=files", f"data.pairs={path}", "data.anchor=anchor", "data.positive=positive", "model=minilm")

    return write


def swap(rows):
    return [(passage, query) for query, passage in rows]


def test_xquad_de_has_several_queries_per_passage_and_no_shared_passage(embsweep, shared_data, tmp_path):
    file = tmp_path / "audit.json"
    result = embsweep(*XQUAD, f"data.path={shared_data / 'xquad_de'}", "--json", file)
    assert result.exit_code == 0, result.output
    written = json.loads(file.read_text("utf-8"))
    findings = {finding["name"]: finding for finding in written["findings"]}
    assert not [finding for finding in written["findings"] if finding["severity"] == "error"]
    assert numbers_in(findings["several-questions-per-passage"]["message"])[:3] == [237, 240, 4.9]
    assert numbers_in(findings["exact-duplicate-queries"]["message"]) == [9]

    (bm25,) = written["figures"]["readings"]
    assert bm25["right"]["map@100"] == pytest.approx(0.90, abs=0.02)
    assert bm25["naive"]["map@100"] < 0.5
    assert bm25["naive"]["accuracy@1"] < 0.25 < 0.8 < bm25["right"]["accuracy@1"]
    assert bm25["naive"]["recall@10"] > 0.85
    for shown in ("several-questions-per-passage", "BM25, one id per row", f"{bm25['naive']['map@100']:.4f}"[1:]):
        assert shown in result.output

    passages = [set(), *(size["passages"] for size in written["figures"]["sizes"])]
    assert sum(passages[1:]) == written["figures"]["corpus"] == 240  # each passage on one side


def test_the_base_model_is_listed_beside_bm25(embsweep, shared_data, tmp_path):
    file = tmp_path / "audit.json"
    small = ("data.max_pairs=400", "model.max_seq_length=64")
    result = embsweep(*XQUAD, f"data.path={shared_data / 'xquad_de'}", *small, "--model", "--json", file)
    assert result.exit_code == 0, result.output
    bm25, minilm = json.loads(file.read_text("utf-8"))["figures"]["readings"]
    assert (bm25["ranker"], minilm["ranker"]) == ("BM25", "minilm")
    assert minilm["naive"]["map@100"] < 0.6 * minilm["right"]["map@100"]


def test_exit_code_2_if_an_error_is_not_waived(embsweep, pairs):
    data = pairs(swap(make_rows(60)))
    result = embsweep(*data)
    assert result.exit_code == 2
    assert "audit.waive=[columns-swapped]" in result.output
    waived = embsweep(*data, "audit.waive=[columns-swapped]")
    assert waived.exit_code == 0
    assert "columns-swapped (waived)" in waived.output
    assert "audit.waive" not in waived.output


def test_every_diagnostic_of_the_command_line_at_once(embsweep, pairs, tmp_path):
    result = embsweep(*pairs(make_rows(60)), "audit.waive=[column-swapped]", "--json", tmp_path / "no" / "file.json")
    assert result.exit_code == 2
    assert all(named in result.output for named in ("audit.waive: ", "'columns-swapped'", "--json: "))


def test_the_command_line_of_a_sweep_is_accepted(embsweep, pairs):
    result = embsweep("+sweep=quickstart", *pairs(make_rows(60))[:4], "train.learning_rate=1e-5,1e-4")
    assert result.exit_code == 0, result.output
    assert "train.learning_rate=1e-5,1e-4" in result.output


def training_rows(output):
    (row,) = [cells for cells in map(str.split, output.splitlines()) if cells[:1] == ["training"]]
    return row[1]


def test_only_an_explicit_rehearsal_reduces_the_data(embsweep, pairs):
    data = pairs(make_rows(900))
    assert training_rows(embsweep(*data).output) == "720"
    assert training_rows(embsweep(*data, "scale=rehearsal").output) == "450"


@pytest.mark.parametrize("width", [80, 140])
def test_the_report_fits_the_terminal_without_truncation(width, shared_data):
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    request = [*XQUAD, f"data.path={shared_data / 'xquad_de'}"]
    assert audit(request, with_model=False, json_file=None, console=console)
    text = out.getvalue().split("Data audit of", 1)[1]
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for word in ("Queries per passage", "an evaluation with one id per row".capitalize(), "→ do not compare"):
        assert word in text


def test_data_that_cannot_be_split_is_a_diagnostic(embsweep, pairs):
    result = embsweep(*pairs(make_rows(60, questions=60)))
    assert result.exit_code == 2
    assert "data.split" in result.output


def test_diagnostics_of_the_data_are_raised_before_the_audit(tmp_path):
    with raises_diagnostics(("missing-file", "data.path")):
        audit(["data=beir", f"data.path={tmp_path / 'no'}"], with_model=False, json_file=None, console=Console())
