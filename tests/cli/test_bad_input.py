"""Bad input: all diagnostics are listed within seconds, the exit code is 2, and no files are created."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test composes its own command line: a quarter of a second

ROOT = Path(__file__).resolve().parents[2]


FIXED = ("train.epochs=1", "train.warmup=0.1", "matryoshka=halving", "matryoshka.weight_power=0", "loss=mnrl")
"""Overrides that leave the learning rate as the preset's only dimension: fewer points to compose, faster tests."""


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """Storage folder that stays empty: one for the session, see `pairs`."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture
def refused(call_past_hydra, check_refusal):
    """Return a function that runs a command that must be refused, without Hydra's own start."""
    return check_refusal(call_past_hydra)


@pytest.fixture
def refused_by_all(call, check_refusal):
    """Return the same function with Hydra in between, as for a user."""
    return check_refusal(call)


@pytest.fixture
def check_refusal(two_cores, pairs, untouched, tmp_path, monkeypatch):
    """Return a wrapper for `call` that checks the refusal and that the storage folder stays empty."""
    import embsweep.sweep.run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embsweep.sweep.run, "_search", lambda *_: pytest.fail("this input was accepted"))

    def wrap(call):
        def run(*arguments, sweep="+sweep=bgem3", data=None):
            chosen = [sweep, *(["data=files", f"data.pairs={pairs}"] if data is None else data)]
            if not any(argument.startswith("storage.path=") for argument in arguments):
                chosen.append(f"storage.path={untouched}")
            result = call(*filter(None, chosen), *arguments)
            assert result.code == 2, result
            assert "Traceback" not in result.err
            assert result.diagnostics
            assert list(untouched.iterdir()) == []
            return result

        return run

    return wrap


def given(*arguments):
    """Return `arguments` after the entries of `FIXED` that they do not replace."""
    keys = {argument.split("=")[0] for argument in arguments}
    return [*(line for line in FIXED if line.split("=")[0] not in keys), *arguments]


NAMED = [
    (["train.learnig_rate=3"], "train.learnig_rate", "unknown-key", "'train.learning_rate'"),
    (["modle=minilm"], "modle", "unknown-key", "'model'"),
    (["trials=0"], "trials", "unknown-key", "'search.trials'"),
    (["model=minilm6"], "model", "unknown-option", "did you mean 'minilm'"),
    (["search.trials=0"], "search.trials", "out-of-range", "0"),
    (["stopping=none", "stopping.paused_states=4"], "stopping.paused_states", "inactive-key", "stopping=promotion"),
    (["objective.metric=map@10"], "objective.metric", "unknown-option", "'map@10'"),
    (["model=minilm"], "matryoshka.dims", "out-of-range", "384"),
    (["matryoshka.dims=[64,128]"], "matryoshka.dims", "wrong-order", "128"),
    (["matryoshka.dims=[128,128]"], "matryoshka.dims", "duplicate-value", "128"),
    (["matryoshka.weights=[1]"], "matryoshka.weights", "wrong-length", "6"),
    (["matryoshka.weights=[0,0,0,0,0,0]"], "matryoshka.weights", "bad-weights", ""),
    (["train.learning_rate=interval(1e-4,1e-6)"], "train.learning_rate", "impossible-range", ""),
    (
        ["++hydra.sweeper.params={train.epoch: 'range(1,4)'}"],
        "hydra.sweeper.params.train.epoch",
        "unknown-key",
        "'train.epochs'",
    ),
    (["scale=full"], "model.source", "unreachable", "'BAAI/bge-m3'"),
    (["scale=full", "model.source=/nope"], "model.source", "missing-file", "'/nope'"),
    (
        ["model=minilm", "matryoshka=from_384", "model.pooling=null,cls"],
        "model.pooling",
        "conflict",
        "model.pooling=cls",
    ),
    (["model.trust_remote_code=true"], "model.trust_remote_code", "not-settable", "model.source="),
    (["+model.trust_remote_code=true"], "model.trust_remote_code", "not-settable", "model.source="),
    (["model.prompts={anchor: x}"], "model.prompts.anchor", "unknown-key", "query, document"),
    (["storage.path=/dev/null"], "storage.path", "not-writable", "/dev/null"),
]
"""Cases that the documentation promises: arguments, location, code, and text that the message contains."""

MORE = [
    # the command line
    (["+sweep=quickstart"], "sweep", "duplicate-value", "quickstart"),
    (["+model=minilm"], "model", "wrong-prefix", " model=minilm"),
    (["model@here=minilm"], "model@here", "unknown-key", ""),
    (["data.path=x"], "data.path", "inactive-key", "data=beir"),
    (["hydra/sweeper=basic"], "hydra/sweeper", "not-settable", ""),
    (["hydra.mode=FOO"], "hydra.mode", "refused-by-hydra", "RUN, MULTIRUN"),
    (["hydra.foo=1"], "hydra.foo", "refused-by-hydra", ""),
    (["hydra.verbose='${nope}'"], "hydra.verbose", "not-settable", ""),
    (["hydra.mode='${nope}'"], "hydra.mode", "not-settable", ""),
    (["train.epochs=${train.nope}"], "train.epochs", "unresolved", "train.nope"),
    (["sweep.name=über"], "sweep.name", "bad-override", """'sweep.name="über"'"""),
    (["objective.dim_weights={7:"], "objective.dim_weights", "bad-override", ""),
    ([""], "the command line", "bad-override", ""),
    (["=3"], "the command line", "unknown-key", ""),
    # values
    (["sweep.name=../x"], "sweep.name", "bad-name", "'../x'"),
    (["objective.dim_weights={7: 1}"], "objective.dim_weights.7", "not-evaluated", "1024, 768, 512"),
    (["runner.cpus_per_trial=99"], "runner.cpus_per_trial", "not-enough-cpus", "2"),
    # the space
    (["train.epochs=interval(0,3)"], "train.epochs", "out-of-range", "train.epochs=0.0"),
    (["model=bge-m3,minilm", "eval.dims=[384,64]"], "matryoshka.dims", "out-of-range", "model=minilm"),
    (["model=bge-m3,minilm", "matryoshka=from_384"], "eval.dims", "conflict", "eval.dims=[256,128,64]"),
    (["train.scheduler=cosine,linaer"], "train.scheduler", "unknown-option", "'linear'"),
    (["train.seed=1,2,1"], "train.seed", "duplicate-value", ""),
    ([f"train.seed={','.join(map(str, range(201)))}"], "train.seed", "too-many", "201"),
    (
        ["+hydra.sweeper.params.train.epochs=range(1,4)"],
        "hydra.sweeper.params.train.epochs",
        "not-sweepable",
        " train.epochs=",
    ),
    (["search.trials=3,4"], "search.trials", "not-sweepable", ""),
    (["objective=mean,worst"], "objective", "not-sweepable", ""),
    (["eval.dims=[64],[32]"], "eval.dims", "not-sweepable", ""),
    (["loss.name=mnrl,cached_mnrl"], "loss.mini_batch_size", "conflict", "loss.name=cached_mnrl"),
    # storage folder, tracking store
    (["storage.path=/proc/nope"], "storage.path", "not-writable", "/proc/nope"),
    (["storage.path='~nosuchuser/x'"], "storage.path", "unknown-user", "~nosuchuser"),
    (["scale=full", "model.source='~nosuchuser/x'"], "model.source", "unknown-user", "~nosuchuser"),
    (["tracking.uri=nonsense"], "tracking.uri", "unreachable", "nonsense"),
]


def check_diagnostics(result, *expected):
    """Check that the diagnostics have exactly these codes and locations, and that the locations are printed."""
    assert result.diagnostics == list(expected)
    assert result.listed_locations == [where for _, where in expected]


@pytest.mark.parametrize(("arguments", "where", "code", "named"), [*NAMED, *MORE])
def test_refused_with_one_diagnostic(refused, arguments, where, code, named):
    result = refused(*given(*arguments))
    check_diagnostics(result, (code, where))
    assert named in result.err


@pytest.mark.parametrize(
    ("content", "where", "code", "named"),
    [
        ("", "data.jsonl", "empty", ""),
        (b"\xff\xfe\x00", "data.jsonl:1", "not-utf8", "UTF-16"),
        ('{"anchor":"a","positive":"b"}\n', "data.split", "too-few-groups", ""),
        ('{"anchor":"a","positive":"b"}\n{"anchor":" ","positive":"c"}\n', "data.jsonl:2", "empty", "'anchor'"),
        ('{"remark":"a","positive":"b"}\n', "data.jsonl:1", "missing-column", "'anchor'"),
        ('{"anchor":"a","positive":"b"}\nnot json\n', "data.jsonl:2", "bad-format", ""),
    ],
)
def test_refused_file(refused, tmp_path, content, where, code, named):
    file = tmp_path / "data.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    result = refused(*FIXED, data=["data=files", f"data.pairs={file}"])
    check_diagnostics(result, (code, where))
    assert named in result.err


@pytest.mark.parametrize(
    ("data", "where", "code", "named"),
    [
        (["data=files"], "data.pairs", "missing-value", "data.pairs="),
        (["data=files", "data.pairs=x.jsonl"], "data.pairs", "missing-file", "x.jsonl"),
        (["data=files", "data.pairs=."], "data.pairs", "wrong-file-kind", ""),
        (["data=files", "data.pairs=ü.jsonl"], "data.pairs", "bad-override", """'data.pairs="ü.jsonl"'"""),
        (["data=beir", "data.path=/nope"], "data.path", "missing-file", "/nope"),
        (["data=docstrings", "data.packages=[numpi]"], "data.packages", "not-installed", "'numpy'"),
    ],
)
def test_refused_source(refused, data, where, code, named):
    result = refused(*FIXED, data=data)
    check_diagnostics(result, (code, where))
    assert named in result.err


def test_query_without_passage(refused, tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "text": "x"}) + "\n")
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": q}) + "\n" for q in ("q1", "q2")))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    result = refused(*FIXED, data=["data=beir", f"data.path={folder}"])
    check_diagnostics(result, ("unanswered-query", "queries.jsonl:2"))


@pytest.mark.parametrize(
    ("arguments", "where", "code", "named"), [NAMED[0], NAMED[4], NAMED[11], NAMED[-1], MORE[9], MORE[-1]]
)
def test_refused_the_same_through_hydra(refused_by_all, arguments, where, code, named):
    """Cases: command line, value, search space, storage folder, interpolation, tracking store."""
    result = refused_by_all(*given(*arguments))
    check_diagnostics(result, (code, where))
    assert named in result.err


def test_all_diagnostics_are_listed_together(refused, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text('{"anchor":"a","positive":"b"}\n{"anchor":"","positive":"c"}\nnot json\n')
    result = refused(
        "train.learnig_rate=3",
        "search.trials=0",
        "objective.metric=foo",
        "matryoshka.dims=[1,2]",
        "train.epochs=range(3,3)",
        "train.warmup=interval(0.5,2.0)",
        "model.source=/nope",
        "scale=full",
        data=["data=files", f"data.pairs={file}"],
    )
    check_diagnostics(
        result,
        ("unknown-key", "train.learnig_rate"),
        ("too-few", "train.epochs"),
        ("wrong-order", "matryoshka.dims"),
        ("unknown-option", "objective.metric"),
        ("out-of-range", "search.trials"),
        ("out-of-range", "train.warmup"),
        ("bad-format", "data.jsonl:3"),
        ("empty", "data.jsonl:2"),
        ("missing-file", "model.source"),
    )
    assert result.err.startswith("9 ")


def test_an_invalid_space_does_not_hide_other_diagnostics(refused):
    result = refused("train.epochs=range(3,3)", "objective.metric=foo", data=["data=beir", "data.path=/nope"])
    assert result.listed_locations == ["train.epochs", "objective.metric", "data.path"]


def test_an_unknown_model_is_not_also_reported_as_unreachable(refused):
    assert refused("model=bge", "scale=full").listed_locations == ["model"]


def test_an_unresolved_interpolation_does_not_hide_other_diagnostics(refused):
    assert refused("train.epochs=${train.nope}", "train.epoch=3").listed_locations == ["train.epoch", "train.epochs"]
    result = refused("train.epochs=${nope}", "train.warmup=${nope}", "train.batch_size=abc", "data=files")
    assert set(result.listed_locations) >= {"train.epochs", "train.warmup", "train.batch_size", "data"}
    assert len(result.listed_locations) == len(set(result.listed_locations))


def test_overrides_that_exclude_each_other(refused):
    result = refused("storage=null", "storage.path=x")
    check_diagnostics(result, ("conflict", "storage.path"), ("missing-value", "storage"))


def test_grid_with_intervals(refused):
    result = refused("search=grid")
    keys = ["train.learning_rate", "train.warmup", "matryoshka.weight_power"]
    check_diagnostics(result, *(("conflict", key) for key in keys))


def test_options_with_equal_values(refused):
    result = refused("matryoshka=from_384,coarse", "matryoshka.dims=[64]", "train.epochs=1.0,1")
    check_diagnostics(result, ("duplicate-value", "matryoshka"), ("duplicate-value", "train.epochs"))


@pytest.mark.parametrize(
    ("sweep", "where", "code", "named"),
    [
        ("sweep=bgem3", "sweep", "wrong-prefix", " +sweep=bgem3"),
        ("+sweep=bgem", "sweep", "unknown-option", "'bgem3'"),
        ("+sweep=bgem3,quickstart", "sweep", "not-sweepable", ""),
        ("+sweep=", "sweep", "unknown-option", "bgem3, ca_procedures, de_tax, es_boe, quickstart"),
    ],
)
def test_wrong_name_of_a_sweep(refused, sweep, where, code, named):
    result = refused(sweep=sweep)
    check_diagnostics(result, (code, where))
    assert named in result.err


def test_one_trial_cannot_be_swept(refused_by_all):
    result = refused_by_all("hydra.mode=RUN", "train.epochs=1,2", sweep=None)
    check_diagnostics(result, ("not-sweepable", "train.epochs"))
    assert "hydra.mode=RUN" in result.err


def test_one_trial_is_checked_too(refused_by_all):
    result = refused_by_all("hydra.mode=RUN", "train.epochs=0", "objective.metric=x", sweep=None)
    check_diagnostics(result, ("out-of-range", "train.epochs"), ("unknown-option", "objective.metric"))


def test_docstrings_are_not_collected_if_there_are_other_diagnostics(refused, monkeypatch):
    monkeypatch.setattr(
        "embsweep.sweep.checks.inputs.load_collection", lambda *_: pytest.fail("this takes half a minute")
    )
    assert refused("train.epoch=1", data=["data=docstrings"]).listed_locations == ["train.epoch"]


def test_from_a_shell(tmp_path):
    """Run once as a user does: in a new process, with output to a pipe; nothing is printed on stdout."""
    command = [sys.executable, str(ROOT / "run_sweep.py"), "+sweep=bgem3", "train.epoch=1", f"storage.path={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    assert [line.split(": ")[0] for line in done.stderr.splitlines()[1:]] == ["  - train.epoch"]
    assert list(tmp_path.iterdir()) == []
