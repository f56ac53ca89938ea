"""Fixtures: a real sweep of four trials, MLflow's UI for it as `embsweep ui` starts it, and a browser."""

import io
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from embsweep.cli.composition.request import read_request
from embsweep.search.read import read_ledger
from embsweep.sweep.run import run_sweep
from embsweep.tracking.store import open_store

SWEEP = (
    "+sweep=quickstart",
    "data.packages=[stdlib]",
    "data.max_pairs=400",
    "runner=inline",
    "stopping=none",
    "eval.fractions=[0.5,1.0]",
    "search.trials=4",
    "train.epochs=1,2",
    "train.batch_size=64",
    "train.warmup=0.1",
    "matryoshka=from_384",
    "matryoshka.weight_power=0.0",
    "confirm=none",
    "report.at_end=false",
)
# On a first visit MLflow opens its chat-model view, with its assistant's panel over a quarter of the page.
_SETTINGS = """
localStorage.setItem('mlflow.workflowType_v1', '"machine_learning"');
localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false');
localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true');
"""
_QUIET = ("gpu", "quic", "background-networking", "component-update", "sync")


@pytest.fixture(scope="session")
def finished(browser, loader, tmp_path_factory):
    """Run the sweep; return its storage and experiment, its trials' run ids and records, and its result."""
    root = tmp_path_factory.mktemp("browser")
    request = read_request(loader, [*SWEEP, f"storage.path={root}"], "python run_sweep.py")
    result = run_sweep(request, Console(file=io.StringIO()))
    _, records = read_ledger(root / "sweeps/quickstart/study.db")
    store = open_store(root, uri=None, experiment="embsweep")
    runs = store.client.search_runs([store.experiment_id], "tags.`embsweep.role` = 'trial'")
    ids = {run.data.tags["embsweep.trial"]: run.info.run_id for run in runs}
    return SimpleNamespace(
        root=root,
        experiment_id=store.experiment_id,
        records=records,
        trials=[ids[str(record.number)] for record in records],
        result=result,
    )


@pytest.fixture(scope="session")
def url(link):
    """The link that `embsweep ui` prints, without its page; a page's own address can be added to it."""
    return link.partition("#")[0]


@pytest.fixture(scope="session")
def link(finished):
    """The link that `embsweep ui` prints."""
    with serve(finished.root) as printed:
        yield printed


@contextmanager
def serve(root):
    """Run `embsweep ui` for a storage folder; yield the link that it prints."""
    command = [sys.executable, "-m", "embsweep.cli.commands", "ui", "--port", "0", "--storage", str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", process.stdout.readline())[0]
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the extra [browser] is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no system Chromium")
    switches = ["--no-sandbox", "--no-first-run", *(f"--disable-{feature}" for feature in _QUIET)]
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=switches)
        yield started
        started.close()


@pytest.fixture
def page(browser):
    """A new page; no request of it may be refused, apart from MLflow's telemetry."""
    refused = []
    opened = browser.new_page(viewport={"width": 1400, "height": 800})
    opened.route(lambda address: "//127.0.0.1" not in address, lambda route: route.abort())
    opened.set_default_timeout(45_000)
    opened.add_init_script(_SETTINGS)
    opened.on("response", lambda answer: refused.append(answer.url) if answer.status == 403 else None)
    yield opened
    opened.close()
    assert [url for url in refused if not url.endswith("/ui-telemetry")] == []


@pytest.fixture
def screenshot(page, tmp_path):
    """`screenshot(name)`: save the page as a PNG in EMBSWEEP_SCREENSHOTS (else in a temporary folder)."""
    return lambda name: _save_picture(page, tmp_path, name)


@pytest.fixture
def screenshot_of(tmp_path):
    """`screenshot_of(page, name)`: save all of a page as `screenshot` does."""
    return lambda page, name: _save_picture(page, tmp_path, name, full_page=True)


def _save_picture(page, tmp_path, name, **how):
    folder = Path(os.environ.get("EMBSWEEP_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", **how)
    return folder / f"{name}.png"
