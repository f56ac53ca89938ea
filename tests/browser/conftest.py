"""A store with one sweep of six trials and a registered winner, MLflow's interface over it, and a browser."""

import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from embsweep.names import METRICS
from embsweep.tracking.facts import DatasetFacts, SweepIdentity, WinnerFacts
from embsweep.tracking.registry import register_winner
from embsweep.tracking.runs import open_sweep_run
from embsweep.tracking.store import open_store
from embsweep.trial.reporter import Outcome, Report, TrialResult

DIMS = (384, 256, 128, 64)
POINTS = [(1e-6, 1), (5e-6, 2), (2e-5, 3), (5e-5, 2), (1e-4, 3), (3e-4, 1)]
BEST = 3
_SERVE = """
import sys; from pathlib import Path; from embsweep.tracking.ui import run_ui
run_ui(Path(sys.argv[1]), None, port=0, on_ready=lambda url: print(url, flush=True))
"""
# On a first visit MLflow shows its chat-model side, and its assistant's panel over a quarter of the page.
_SETTINGS = """
localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
"""
_QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")


def _scores(base):
    return {dim: dict.fromkeys(METRICS, base - 0.08 * (1 - dim / 384) ** 2) for dim in DIMS}


def _run_trial(sweep, number, learning_rate, epochs):
    config = {
        "train": {"learning_rate": learning_rate, "epochs": epochs},
        "loss": {"name": "mnrl"},
        "matryoshka": {"dims": list(DIMS)},
    }
    run_id = sweep.start_trial(number, 1, config)
    top = 0.46 - 0.02 * abs(math.log10(learning_rate / 5e-5)) + 0.01 * (epochs == 2)
    for rung in range(1, 6):
        fraction = rung / 5
        now = top - 0.1 * (1 - fraction)
        report = Report(
            fraction=fraction,
            step=20 * rung,
            epoch=epochs * fraction,
            objective=now,
            best_objective=now,
            best_fraction=fraction,
            scores=_scores(now),
            loss=2 - fraction,
            learning_rate=learning_rate,
            elapsed_s=3.0 * rung,
        )
        sweep.log_report(run_id, report)
    outcome = Outcome.STOPPED if number == 0 else Outcome.COMPLETE
    sweep.finish_trial(run_id, TrialResult(outcome, top, _scores(top), None, time.time()))
    return run_id


def _build_model():
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    torch.manual_seed(0)
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0, "law": 1, "tax": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=384)], device="cpu")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished sweep in a store of its own: its root, run ids and registered version."""
    root = tmp_path_factory.mktemp("browser")
    store = open_store(root, uri=None, experiment="embsweep")
    sweep = open_sweep_run(store, SweepIdentity("legal-rehearsal", "s1", "minilm", rehearsal=True, rehearses="bge-m3"))
    sweep.log_baseline(_scores(0.42), bm25_map=0.40)
    sweep.log_dataset(
        DatasetFacts("docstrings", "3f2a" * 16, "docstrings of numpy, scipy", {"train": 900, "test": 200})
    )
    trials = [_run_trial(sweep, number, *point) for number, point in enumerate(POINTS)]
    checkpoint = root / "sweeps" / "best"
    _build_model().save(str(checkpoint), create_model_card=False)
    facts = WinnerFacts(trials[BEST], BEST, 0.47, "map@100", _scores(0.465), card="# legal\nTrained by embsweep.\n")
    version = register_winner(sweep, checkpoint, registered_name="legal", facts=facts)
    sweep.finish({"best_objective": 0.47})
    return SimpleNamespace(root=root, store=store, run_id=sweep.run_id, trials=trials, version=version)


@pytest.fixture(scope="session")
def url(finished):
    """MLflow's interface over the store, started as `embsweep ui` starts it."""
    command = [sys.executable, "-c", _SERVE, str(finished.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra [browser] is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no system Chromium")
    switches = ["--no-sandbox", "--no-first-run", *(f"--disable-{what}" for what in _QUIET)]
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=switches)
        yield started
        started.close()


@pytest.fixture
def page(browser):
    opened = browser.new_page(viewport={"width": 1400, "height": 800})
    opened.route(lambda address: "//127.0.0.1" not in address, lambda route: route.abort())
    opened.set_default_timeout(45_000)
    opened.add_init_script(_SETTINGS)
    yield opened
    opened.close()


@pytest.fixture
def screenshot(page, tmp_path):
    """Take a picture into EMBSWEEP_SCREENSHOTS (else a temporary folder)."""

    def take(name):
        folder = Path(os.environ.get("EMBSWEEP_SCREENSHOTS", tmp_path))
        folder.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=folder / f"{name}.png")
        return folder / f"{name}.png"

    return take
