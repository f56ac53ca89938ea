"""Bad input: every fault listed, exit code 2, within seconds, and nothing left behind."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each composes a command line of its own: a quarter of a second

ROOT = Path(__file__).resolve().parents[2]


FIXED = ("train.epochs=1", "train.warmup=0.1", "matryoshka=halving", "matryoshka.weight_power=0", "loss=mnrl")
"""Leaves the learning rate as the preset's only dimension: fewer points to compose, faster tests."""


@pytest.fixture(scope="session")
def untouched(tmp_path_factory):
    """A storage folder that stays empty: one for all, see `pairs`."""
    return tmp_path_factory.mktemp("storage")


@pytest.fixture
def refused(call_past_hydra, check_refusal):
    """A call that must be refused; it takes Hydra's own start for granted."""
    return check_refusal(call_past_hydra)


@pytest.fixture
def refused_by_all(call, check_refusal):
    """The same with Hydra in between, as a user has it."""
    return check_refusal(call)


@pytest.fixture
def check_refusal(two_cores, pairs, untouched, tmp_path, monkeypatch):
    """Calls with a storage folder that whatever is refused must leave alone."""
    import embsweep.sweep.run

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(embsweep.sweep.run, "_search", lambda *_: pytest.fail("this input was let through"))

    def wrap(call):
        def run(*arguments, sweep="+sweep=bgem3", data=None):
            chosen = [sweep, *(["data=files", f"data.pairs={pairs}"] if data is None else data)]
            if not any(argument.startswith("storage.path=") for argument in arguments):
                chosen.append(f"storage.path={untouched}")
            left = call(*filter(None, chosen), *arguments)
            assert left.code == 2, left
            assert "Traceback" not in left.err
            assert "nothing was started" in left.err
            assert list(untouched.iterdir()) == []
            return left

        return run

    return wrap


def given(*arguments):
    """Arguments after `FIXED`, without what they replace."""
    keys = {argument.split("=")[0] for argument in arguments}
    return [*(line for line in FIXED if line.split("=")[0] not in keys), *arguments]


NAMED = [
    (["train.learnig_rate=3"], "train.learnig_rate", "did you mean 'train.learning_rate'?"),
    (["modle=minilm"], "modle", "did you mean 'model'?"),
    (["trials=0"], "trials", "did you mean 'search.trials'?"),
    (["model=minilm6"], "model", "accepted: bge-m3, minilm, static; did you mean 'minilm'?"),
    (["search.trials=0"], "search.trials", "got 0"),
    (["objective.metric=map@10"], "objective.metric", "unknown metric"),
    (["model=minilm"], "matryoshka.dims", "1024 is larger than the 384"),
    (["matryoshka.dims=[64,128]"], "matryoshka.dims", "128 stands after 64"),
    (["matryoshka.dims=[128,128]"], "matryoshka.dims", "128 is repeated"),
    (["matryoshka.weights=[1]"], "matryoshka.weights", "1 weights for 6 dims"),
    (["matryoshka.weights=[0,0,0,0,0,0]"], "matryoshka.weights", "are no weights"),
    (["train.learning_rate=interval(1e-4,1e-6)"], "train.learning_rate", "impossible interval"),
    (["++hydra.sweeper.params={train.epoch: 'range(1,4)'}"], "hydra.sweeper.params.train.epoch", "neither a key"),
    (["scale=full"], "model.source", "is not in the local cache"),
    (["scale=full", "model.source=/nope"], "model.source", "no such folder; got '/nope'"),
    (["storage.path=/dev/null"], "storage.path", "cannot be written to"),
]
"""What the project promises by name."""

MORE = [
    # the command line
    (["+sweep=quickstart"], "sweep", "is chosen twice"),
    (["+model=minilm"], "model", "write model=minilm"),
    (["model@here=minilm"], "model@here", "no such place"),
    (["data.path=x"], "data.path", "is a key of data=beir, which is not chosen"),
    (["hydra/sweeper=basic"], "hydra/sweeper", "embsweep's own"),
    (["hydra.mode=FOO"], "hydra.mode", "expected one of [RUN, MULTIRUN]"),
    (["hydra.foo=1"], "hydra.foo", "Hydra refuses it"),
    (["hydra.verbose='${nope}'"], "hydra.verbose", "accepted: a plain value"),
    (["hydra.mode='${nope}'"], "hydra.mode", "accepted: a plain value"),
    (["train.epochs=${train.nope}"], "train.epochs", "'train.nope' not found"),
    (["sweep.name=über"], "sweep.name", """quote the value: 'sweep.name="über"'"""),
    (["objective.dim_weights={7:"], "objective.dim_weights", "brackets do not match"),
    ([""], "the command line", "cannot be read"),
    (["=3"], "the command line", "unknown key or group"),
    # values
    (["sweep.name=../x"], "sweep.name", "accepted: 1 to 80 letters"),
    (["objective.dim_weights={7: 1}"], "objective.dim_weights.7", "is not evaluated"),
    (["runner.cpus_per_trial=99"], "runner.cpus_per_trial", "got 99; accepted: up to 2"),
    # the space
    (["train.epochs=interval(0,3)"], "train.epochs", "in the search space at train.epochs=0.0"),
    (["model=bge-m3,minilm", "eval.dims=[384,64]"], "matryoshka.dims", "(in the search space at model=minilm)"),
    (["model=bge-m3,minilm", "matryoshka=from_384"], "eval.dims", "eval.dims=[256,128,64]"),
    (["train.scheduler=cosine,linaer"], "train.scheduler", "did you mean 'linear'?"),
    (["train.seed=1,2,1"], "train.seed", "an option is repeated"),
    ([f"train.seed={','.join(map(str, range(201)))}"], "train.seed", "this choice has 201 options"),
    (["+hydra.sweeper.params.train.epochs=range(1,4)"], "hydra.sweeper.params.train.epochs", "write train.epochs="),
    (["search.trials=3,4"], "search.trials", "is the same for all trials"),
    (["objective=mean,worst"], "objective", "is the same for all trials"),
    (["eval.dims=[64],[32]"], "eval.dims", "is the same for all trials"),
    (["loss.name=mnrl,cached_mnrl"], "loss.mini_batch_size", "in the search space at loss.name=cached_mnrl"),
    # the place, the store
    (["storage.path=/proc/nope"], "storage.path", "cannot be written to"),
    (["storage.path='~nosuchuser/x'"], "storage.path", "begins with '~' and the name of no user here"),
    (["scale=full", "model.source='~nosuchuser/x'"], "model.source", "no such folder; got '~nosuchuser/x'"),
    (["tracking.uri=nonsense"], "tracking.uri", "no MLflow store"),
]


@pytest.mark.parametrize(("arguments", "where", "words"), [*NAMED, *MORE])
def test_refused_with_one_fault(refused, arguments, where, words):
    left = refused(*given(*arguments))
    assert left.faults == [where]
    assert words in left.err


@pytest.mark.parametrize(
    ("content", "where", "words"),
    [
        ("", "data.jsonl", "is empty"),
        (b"\xff\xfe\x00", "data.jsonl:1", "UTF-16"),
        ('{"anchor":"a","positive":"b"}\n', "data.split", "too few"),
        ('{"anchor":"a","positive":"b"}\n{"anchor":" ","positive":"c"}\n', "data.jsonl:2", "column 'anchor' is empty"),
        ('{"question":"a","positive":"b"}\n', "data.jsonl:1", "there is no column 'anchor'"),
        ('{"anchor":"a","positive":"b"}\nnot json\n', "data.jsonl:2", "is not valid JSON"),
    ],
)
def test_refused_file(refused, tmp_path, content, where, words):
    file = tmp_path / "data.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    left = refused(*FIXED, data=["data=files", f"data.pairs={file}"])
    assert left.faults == [where]
    assert words in left.err


@pytest.mark.parametrize(
    ("data", "where", "words"),
    [
        (["data=files"], "data.pairs", "must be given; add data.pairs="),
        (["data=files", "data.pairs=x.jsonl"], "data.pairs", "there is no such file"),
        (["data=files", "data.pairs=."], "data.pairs", "is a folder"),
        (["data=files", "data.pairs=ü.jsonl"], "data.pairs", """quote the value: 'data.pairs="ü.jsonl"'"""),
        (["data=beir", "data.path=/nope"], "data.path", "there is no such folder"),
        (["data=docstrings", "data.packages=[numpi]"], "data.packages", "did you mean 'numpy'?"),
    ],
)
def test_refused_source(refused, data, where, words):
    left = refused(*FIXED, data=data)
    assert left.faults == [where]
    assert words in left.err


def test_query_without_passage(refused, tmp_path):
    folder = tmp_path / "beir"
    folder.mkdir()
    (folder / "corpus.jsonl").write_text(json.dumps({"_id": "d1", "text": "x"}) + "\n")
    (folder / "queries.jsonl").write_text("".join(json.dumps({"_id": q, "text": q}) + "\n" for q in ("q1", "q2")))
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\n")
    left = refused(*FIXED, data=["data=beir", f"data.path={folder}"])
    assert left.faults == ["queries.jsonl:2"]


@pytest.mark.parametrize(("arguments", "where", "words"), [NAMED[0], NAMED[4], NAMED[11], NAMED[-1], MORE[9], MORE[-1]])
def test_refused_the_same_through_hydra(refused_by_all, arguments, where, words):
    """A fault of the command line, a value, the space, the place, an interpolation, the store."""
    left = refused_by_all(*given(*arguments))
    assert left.faults == [where]
    assert words in left.err


def test_everything_wrong_is_listed_together(refused, tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text('{"anchor":"a","positive":"b"}\n{"anchor":"","positive":"c"}\nnot json\n')
    left = refused(
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
    assert left.faults == [
        "train.learnig_rate",
        "train.epochs",
        "matryoshka.dims",
        "objective.metric",
        "search.trials",
        "train.warmup",
        "data.jsonl:2",
        "data.jsonl:3",
        "model.source",
    ]
    assert left.err.startswith("9 things to mend")


def test_a_space_at_fault_does_not_hide_the_rest(refused):
    left = refused("train.epochs=range(3,3)", "objective.metric=foo", data=["data=beir", "data.path=/nope"])
    assert left.faults == ["train.epochs", "objective.metric", "data.path"]


def test_an_unknown_model_is_not_also_reported_as_unreachable(refused):
    assert refused("model=bge", "scale=full").faults == ["model"]


def test_an_interpolation_that_leads_nowhere_does_not_hide_the_rest(refused):
    assert refused("train.epochs=${train.nope}", "train.epoch=3").faults == ["train.epoch", "train.epochs"]
    left = refused("train.epochs=${nope}", "train.warmup=${nope}", "train.batch_size=abc", "data=files")
    assert set(left.faults) >= {"train.epochs", "train.warmup", "train.batch_size", "data"}
    assert len(left.faults) == len(set(left.faults))


def test_overrides_that_exclude_each_other(refused):
    left = refused("storage=null", "storage.path=x")
    assert left.faults == ["storage.path", "storage"]
    assert "does not go with what is before it" in left.err


def test_grid_with_intervals(refused):
    left = refused("search=grid")
    assert left.faults == ["train.learning_rate", "train.warmup", "matryoshka.weight_power"]
    assert "a grid cannot hold an interval" in left.err


def test_options_that_are_the_same_here(refused):
    left = refused("matryoshka=from_384,coarse", "matryoshka.dims=[64]", "train.epochs=1.0,1")
    assert left.faults == ["matryoshka", "train.epochs"]
    assert "compose to the same configuration" in left.err


@pytest.mark.parametrize(
    ("sweep", "where", "words"),
    [
        ("sweep=bgem3", "sweep", "write +sweep=bgem3"),
        ("+sweep=bgem", "sweep", "did you mean 'bgem3'?"),
        ("+sweep=bgem3,quickstart", "sweep", "is the same for all trials"),
        ("+sweep=", "sweep", "accepted: bgem3, ca_procedures, de_tax, es_boe, quickstart"),
    ],
)
def test_wrong_name_of_a_sweep(refused, sweep, where, words):
    left = refused(sweep=sweep)
    assert left.faults == [where]
    assert words in left.err


def test_one_trial_cannot_be_swept(refused_by_all):
    left = refused_by_all("hydra.mode=RUN", "train.epochs=1,2", sweep=None)
    assert left.faults == ["train.epochs"]
    assert "cannot be swept with hydra.mode=RUN" in left.err


def test_one_trial_is_checked_too(refused_by_all):
    assert refused_by_all("hydra.mode=RUN", "train.epochs=0", "objective.metric=x", sweep=None).faults == [
        "train.epochs",
        "objective.metric",
    ]


def test_docstrings_are_not_gathered_where_something_else_is_wrong(refused, monkeypatch):
    monkeypatch.setattr("embsweep.sweep.preflight.load_collection", lambda *_: pytest.fail("this takes half a minute"))
    assert refused("train.epoch=1", data=["data=docstrings"]).faults == ["train.epoch"]


def test_from_a_shell(tmp_path):
    """Once as a user does it: a process of its own, output that is no terminal, nothing on stdout."""
    command = [sys.executable, str(ROOT / "run_sweep.py"), "+sweep=bgem3", "train.epoch=1", f"storage.path={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("1 thing to mend; nothing was started:\n  - train.epoch: unknown key or group")
    assert list(tmp_path.iterdir()) == []
