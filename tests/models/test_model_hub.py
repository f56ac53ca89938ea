"""Preflight checks of hub models: local folders, caches, and a hub that responds, refuses or does not respond."""

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
from embsweep.models.builders import build_model, check_model


def _config(source, revision=None):
    return ModelConfig(
        name="m", kind="hub", source=str(source), revision=revision, dim=4, max_seq_length=8, pooling="mean"
    )


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Create an empty Hugging Face cache; return a function that adds files of "org/m": cache("config.json", …)."""
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
    """Return a function that makes the hub raise `error`, or succeed if None, and returns the list of requests."""

    def set_answer(error=None, wait=lambda: None):
        requests = []

        def model_info(self, source, *, revision=None, timeout=None):
            requests.append((source, revision))
            wait()
            if error is not None:
                raise error

        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
        return requests

    return set_answer


@pytest.mark.parametrize("name", ["modules.json", "config.json"])
def test_a_folder_with_a_model(tmp_path, answer, name):
    requests = answer(OSError("no network"))
    for file in (name, "tokenizer.json"):
        (tmp_path / file).write_text("{}")
    pooling = "mean" if name == "config.json" else None
    assert check_model(_config(tmp_path).model_copy(update={"pooling": pooling})) == []
    assert not requests


def test_a_folder_without_a_model(tmp_path):
    (diagnostic,) = check_model(_config(tmp_path))
    assert (diagnostic.code, diagnostic.location) == ("wrong-file-kind", "model.source")


def test_a_folder_of_checkpoints_names_one_of_them(tmp_path):
    for name in ("checkpoint-20", "checkpoint-10"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (diagnostic,) = check_model(_config(tmp_path))
    assert diagnostic.hint == f"for example model.source={tmp_path / 'checkpoint-10'}"


def test_a_file_is_no_model(tmp_path, answer):
    requests = answer()
    (tmp_path / "m.gguf").write_text("")
    (diagnostic,) = check_model(_config(tmp_path / "m.gguf"))
    assert (diagnostic.code, diagnostic.location) == ("wrong-file-kind", "model.source")
    assert not requests


@pytest.mark.parametrize("source", ["/no/such/folder", "./nowhere", "~/nowhere-at-all"])
def test_a_missing_path_sends_no_request_to_the_hub(answer, source):
    requests = answer()
    (diagnostic,) = check_model(_config(source))
    assert (diagnostic.code, diagnostic.location) == ("missing-file", "model.source")
    assert not requests


def test_a_cached_model_sends_no_request_to_the_hub(cache, answer):
    requests = answer(OSError("no network"))
    cache("config.json", "model.safetensors")
    assert check_model(_config("org/m")) == []
    assert not requests


def test_a_cache_without_weights_or_of_another_revision_is_not_enough(cache, answer):
    requests = answer(OSError("no network"))
    cache("config.json")
    assert check_model(_config("org/m"))
    cache("model.safetensors")
    assert check_model(_config("org/m", revision="v2"))
    assert requests == [("org/m", None), ("org/m", "v2")]


def test_a_model_on_the_hub(answer):
    assert answer() == []
    assert check_model(_config("org/m")) == []


def _hub_error(kind):
    return kind("refused", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError("down"), "unreachable"),
        (_hub_error(RepositoryNotFoundError), "not-on-hub"),
        (_hub_error(RevisionNotFoundError), "not-on-hub"),
    ],
)
def test_a_model_that_the_hub_does_not_return(answer, error, code):
    answer(error)
    (diagnostic,) = check_model(_config("org/m"))
    assert (diagnostic.code, diagnostic.location) == (code, "model.source")
    assert all(way in diagnostic.hint for way in ("model.source=/", "HF_HOME=", "model=minilm"))
    with raises_diagnostics((code, "model.source")):
        build_model(_config("org/m"), "cpu")


def test_a_name_that_cannot_be_a_hub_id(cache):
    (diagnostic,) = check_model(_config("not a/hub/id"))
    assert (diagnostic.code, diagnostic.location) == ("bad-hub-id", "model.source")


def test_a_hub_that_does_not_respond_is_unreachable_after_the_timeout(answer, monkeypatch):
    monkeypatch.setattr(hub, "HUB_TIMEOUT_S", 0.1)
    is_released = threading.Event()
    answer(wait=is_released.wait)
    (diagnostic,) = check_model(_config("org/m"))
    is_released.set()
    assert (diagnostic.code, diagnostic.location) == ("unreachable", "model.source")


def test_offline_mode_sends_no_request(answer, monkeypatch):
    requests = answer()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    (diagnostic,) = check_model(_config("org/m"))
    assert (diagnostic.code, diagnostic.location) == ("unreachable", "model.source")
    assert not requests


@pytest.mark.slow
def test_the_check_loads_no_torch(tmp_path):
    code = (
        "import sys; from embsweep.config.training import ModelConfig\n"
        "from embsweep.models.builders import check_model;"
        f"check_model(ModelConfig(name='m', kind='hub', source={str(tmp_path)!r}, dim=4, max_seq_length=8));"
        "check_model(ModelConfig(name='m', kind='minilm', dim=4, max_seq_length=8));"
        "import embsweep.models.losses, embsweep.evaluation.evaluator, embsweep.training.checkpoint;"
        "import embsweep.evaluation.bm25;"
        "sys.exit(' '.join({'torch', 'sentence_transformers', 'transformers'} & sys.modules.keys()) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
