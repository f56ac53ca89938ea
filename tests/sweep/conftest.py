"""Fixtures that run sweeps: one through the command line, shared by the end-to-end tests, and small ones in process."""

import functools
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from embsweep.cli.composition.request import read_request
from embsweep.runners.base import Runner
from embsweep.sweep.run import run_sweep as run_sweep_here
from embsweep.tracking import sync as tracking_sync
from tests.sweep.schedulers import limited, make_persistent_scheduler, make_scheduler  # noqa: F401 - fixtures
from tests.toy_models import make_static

ROOT = Path(__file__).resolve().parents[2]
SMALL = ("data.packages=[stdlib]", "data.max_pairs=900", "eval.fractions=[0.5,1.0]", "confirm.finalists=2")
E2E = (*SMALL[:-1], "confirm.finalists=1", "search.trials=3", "sweep.name=e2e")
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


@dataclass(frozen=True)
class CommandResult:
    """Exit code and output of a finished command."""

    code: int
    output: str


def run_sweep(storage, *arguments):
    """Run `python run_sweep.py …` as a user does, but with its state under `storage`."""
    command = [sys.executable, str(ROOT / "run_sweep.py"), f"storage.path={storage}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=540, check=False)
    return CommandResult(done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr))


@pytest.fixture(scope="session")
def finished_sweep(tmp_path_factory):
    """Storage folder and result of a quickstart of 3 trials on little data, through Ray. No test may change it."""
    storage = tmp_path_factory.mktemp("storage")
    result = run_sweep(storage, *E2E)
    assert result.code == 0, result.output
    return storage, result


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """File of ninety pairs of made-up words; each passage has two questions."""
    path = tmp_path_factory.mktemp("data") / "my.jsonl"
    rows = []
    for i in range(45):
        name = SYLLABLES[i] + SYLLABLES[(7 * i + 3) % 60] + SYLLABLES[(11 * i + 5) % 60]
        passage = f"The {name} is kept in room {i} and opened on day {i % 7} of the week."
        rows += [{"question": f"Where is the {name}?", "passage": passage}]
        rows += [{"question": f"When is the {name} opened?", "passage": passage}]
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


@pytest.fixture(scope="session")
def model_of(tmp_path_factory):
    """Return `save(path)`: overrides for a model of the words in a file of pairs, built and saved in milliseconds."""

    @functools.cache
    def save(path):
        words = sorted({"[UNK]", *re.findall(r"\w+|[^\w\s]+", path.read_text("utf-8"))})
        folder = tmp_path_factory.mktemp("words")
        table = np.random.default_rng(3).normal(size=(len(words), 384))
        make_static(words, table).save_pretrained(str(folder), create_model_card=False)
        return "model=static", "model.kind=hub", f"model.source={folder}"

    return save


@pytest.fixture(scope="session")
def launch_in(loader, pairs, model_of, seed_storage, heavy_imports):
    """Return `run(storage, *arguments)`, which runs a sweep with the inline runner and returns its result and output.

    Calls that a sweep makes in a fresh process run in this one, which has imported everything. A new storage folder
    gets an MLflow database unless `seeded` is false.
    """

    def run(storage, *arguments, seeded=True):
        if seeded:
            seed_storage(storage)
        common = [
            "+sweep=quickstart", "data=files", f"data.pairs={pairs}", "data.anchor=question", "data.positive=passage",
            "data.max_pairs=null", "data.split.validation=0.2", "data.split.test=0.2", "runner=inline",
            "eval.fractions=[0.5,1.0]", "train.batch_size=8", "train.warmup=0.1", "matryoshka=from_384",
            "matryoshka.weight_power=0", "search.trials=3", f"storage.path={storage}", "confirm=none",
            "report.at_end=false",  # charts take seconds; the tests of the report ask for it
        ]  # fmt: skip
        keys = {argument.split("=")[0] for argument in arguments}
        kept = [argument for argument in common if argument.split("=")[0] not in keys]
        if "model" not in keys:
            (source,) = (a.partition("=")[2] for a in (*kept, *arguments) if a.startswith("data.pairs="))
            kept += model_of(Path(source))
        out = io.StringIO()
        request = read_request(loader, [*kept, *arguments], "python run_sweep.py")
        with pytest.MonkeyPatch.context() as patch:
            if "runner=inline" in (*kept, *arguments):
                patch.setattr(Runner, "call", _call_here)
            if "tracking.uri" not in keys:  # a local database always answers, even on a busy machine
                patch.setattr(tracking_sync, "CLOSE_TIMEOUT_S", 120.0)
            return run_sweep_here(request, Console(file=out, width=160)), out.getvalue()

    return run


@pytest.fixture
def run_here(monkeypatch, heavy_imports):
    """Run in this process, which has imported everything, what a sweep runs in a fresh one."""
    monkeypatch.setattr(Runner, "call", _call_here)


def _call_here(runner, function, *args, in_new_process=True, **kwargs):
    return function(*args, **kwargs)


@pytest.fixture
def launch(launch_in, tmp_path):
    """Return `launch(*arguments)`: `launch_in` with the state under `tmp_path`."""
    return functools.partial(launch_in, tmp_path)
