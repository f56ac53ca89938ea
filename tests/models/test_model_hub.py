"""The preflight of hub models: folders, caches, a hub that answers, refuses, or is silent."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from tests.refusals import raises_diagnostics

from embsweep.config.training import ModelConfig
from embsweep.models import hub
from embsweep.models.registry import build_model, check_model


def _config(source, revision=None):
    return ModelConfig(name="m", kind="hub", source=str(source), revision=revision, dim=4, max_seq_length=8)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty Hugging Face cache; `cache("config.json", …)` puts files of the model "org/m" into it."""
    root = tmp_path / "hub"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(root))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)

    def put(*names):
        repo = root / "models--org--m"
        (repo / "refs").mkdir(parents=True, exist_ok=True)
        (repo / "refs" / "main").write_text("abc")
        (repo / "snapshots" / "abc").mkdir(parents=True, exist_ok=True)
        for name in names:
            (repo / "snapshots" / "abc" / name).write_text("{}")

    return put


@pytest.fixture
def answer(monkeypatch, cache):
    """`answer(error)`: what the hub says to every question; None is yes. Returns the list of questions."""

    def set_answer(error=None, wait=lambda: None):
        asked = []

        def model_info(self, source, *, revision=None, timeout=None):
            asked.append((source, revision))
            wait()
            if error is not None:
                raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        return asked

    return set_answer


@pytest.mark.parametrize("name", ["modules.json", "config.json"])
def test_a_folder_with_a_model(tmp_path, answer, name):
    asked = answer(OSError("no network"))
    (tmp_path / name).write_text("{}")
    assert check_model(_config(tmp_path)) == []
    assert not asked


def test_a_folder_without_one(tmp_path):
    (diagnostic,) = check_model(_config(tmp_path))
    assert (diagnostic.code, diagnostic.location) == ("wrong-file-kind", "model.source")


@pytest.mark.parametrize("source", ["/no/such/folder", "./nowhere", "~/nowhere-at-all"])
def test_a_path_that_is_not_there_never_asks_the_hub(answer, source):
    asked = answer()
    (diagnostic,) = check_model(_config(source))
    assert (diagnostic.code, diagnostic.location) == ("missing-file", "model.source")
    assert not asked


def test_a_cached_model_never_asks_the_hub(cache, answer):
    asked = answer(OSError("no network"))
    cache("config.json", "model.safetensors")
    assert check_model(_config("org/m")) == []
    assert not asked


def test_a_cache_without_weights_or_of_another_revision_is_not_enough(cache, answer):
    asked = answer(OSError("no network"))
    cache("config.json")
    assert check_model(_config("org/m"))
    cache("model.safetensors")
    assert check_model(_config("org/m", revision="v2"))
    assert asked == [("org/m", None), ("org/m", "v2")]


def test_a_hub_that_has_it(answer):
    assert answer() == []
    assert check_model(_config("org/m")) == []


def _hub_error(kind):
    return kind("said no", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("down"), "unreachable"),
        (_hub_error(RepositoryNotFoundError), "not-on-hub"),
        (_hub_error(RevisionNotFoundError), "not-on-hub"),
    ],
)
def test_a_hub_that_has_not(answer, error, code):
    answer(error)
    (diagnostic,) = check_model(_config("org/m"))
    assert (diagnostic.code, diagnostic.location) == (code, "model.source")
    assert all(way in diagnostic.hint for way in ("model.source=/", "HF_HOME=", "model=minilm"))
    with raises_diagnostics((code, "model.source")):
        build_model(_config("org/m"), "cpu")


def test_a_name_that_cannot_be_a_hub_id(cache):
    (diagnostic,) = check_model(_config("not a/hub/id"))
    assert (diagnostic.code, diagnostic.location) == ("bad-hub-id", "model.source")


def test_a_silent_hub_is_not_waited_for(answer, monkeypatch):
    monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.1)
    has_asked_enough = threading.Event()
    answer(wait=has_asked_enough.wait)
    (diagnostic,) = check_model(_config("org/m"))
    has_asked_enough.set()
    assert (diagnostic.code, diagnostic.location) == ("unreachable", "model.source")


def test_offline_does_not_ask(answer, monkeypatch):
    asked = answer()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (diagnostic,) = check_model(_config("org/m"))
    assert (diagnostic.code, diagnostic.location) == ("unreachable", "model.source")
    assert not asked


@pytest.mark.slow
def test_the_check_loads_no_torch(tmp_path):
    code = (
        "import sys; from embsweep.config.training import ModelConfig\n"
        "from embsweep.models.registry import check_model;"
        f"check_model(ModelConfig(name='m', kind='hub', source={str(tmp_path)!r}, dim=4, max_seq_length=8));"
        "check_model(ModelConfig(name='m', kind='minilm', dim=4, max_seq_length=8));"
        "import embsweep.models.losses, embsweep.evaluation.evaluator, embsweep.training.checkpoint;"
        "import embsweep.evaluation.bm25;"
        "sys.exit(' '.join({'torch', 'sentence_transformers', 'transformers'} & sys.modules.keys()) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
