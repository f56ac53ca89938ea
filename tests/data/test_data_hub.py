"""Data sets of the Hugging Face hub: rows from a simulated download, and the diagnostic of each failure."""

from __future__ import annotations

import time
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError
from tests.refusals import codes_and_locations

from embsweep.data.sources import hub
from embsweep.data.sources.load import load_collection


@pytest.fixture(autouse=True)
def _reachable(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "_require_reachable", lambda config: None)


@pytest.fixture
def datasets():
    """Import the library `datasets`, which takes most of a second."""
    import datasets

    return datasets


@pytest.fixture
def serve(monkeypatch, datasets):
    """Return a function that makes `load_dataset` return `columns`, and returns the list of its calls."""

    def serve(columns):
        calls = []

        def load(*args, **kwargs):
            calls.append((args, kwargs))
            return datasets.Dataset.from_dict(columns)

        monkeypatch.setattr(datasets, "load_dataset", load)
        return calls

    return serve


def test_rows_become_a_collection(serve, hub_config, tmp_path):
    calls = serve({"anchor": ["a?", "b?"], "positive": ["p", "q"], "neg": ["n", "m"], "other": [1, 2]})
    collection = load_collection(hub_config(negative="neg", subset="de"), tmp_path)
    assert calls == [(("owner/name", "de"), {"split": "train", "revision": "abc123"})]
    assert collection.name == "owner/name"
    texts = collection.passages
    rows = [(j.query, texts[j.passage], texts[j.negatives[0]]) for j in collection.judgements]
    assert rows == [(0, "p", "n"), (1, "q", "m")]


@pytest.mark.parametrize(
    ("columns", "code", "where", "named"),
    [
        ({"anchor": ["a"], "positives": ["p"]}, "missing-column", "owner/name", "'positives'"),
        ({"anchor": ["a", "b"], "positive": ["p", None]}, "missing-value", "owner/name:2", "'positive'"),
        ({"anchor": [["a"]], "positive": ["p"]}, "wrong-type", "owner/name:1", "'anchor'"),
        ({"anchor": [7], "positive": ["p"]}, "wrong-type", "owner/name:1", "'anchor'"),
        ({"anchor": ["  "], "positive": ["p"]}, "empty", "owner/name:1", "'anchor'"),
        ({"anchor": [], "positive": []}, "no-rows", "owner/name", "'train'"),
    ],
)
def test_invalid_rows(serve, hub_config, diagnostics_of, columns, code, where, named):
    serve(columns)
    (diagnostic,) = diagnostics_of(hub_config())
    assert (diagnostic.code, diagnostic.location) == (code, where)
    assert named in str(diagnostic)


def response(status):
    return SimpleNamespace(status_code=status, headers={}, request=None)


ERRORS = [
    (ConnectionError("no route to host\nmore"), "not-loadable", "data.id", "ConnectionError: no route to host"),
    (TimeoutError("timed out"), "not-loadable", "data.id", "data=files data.pairs=<file>"),
    (ValueError("Unknown split 'train'"), "not-loadable", "data.id", "Unknown split 'train'"),
    (RuntimeError("Dataset scripts are no longer supported"), "not-loadable", "data.id", "Dataset scripts"),
    (RepositoryNotFoundError("404", response=response(404)), "not-on-hub", "data.id", "'owner/name'"),
    (GatedRepoError("403", response=response(403)), "no-access", "data.id", "`hf auth login`"),
    (RevisionNotFoundError("404", response=response(404)), "not-on-hub", "data.revision", "'abc123'"),
]


@pytest.mark.parametrize(("error", "code", "where", "named"), ERRORS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("failing_call", ["reach", "load"])
def test_a_failure_of_hub_or_library_is_one_diagnostic(
    monkeypatch, datasets, hub_config, diagnostics_of, error, code, where, named, failing_call
):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(*((hub, "_require_reachable") if failing_call == "reach" else (datasets, "load_dataset")), fail)
    (diagnostic,) = diagnostics_of(hub_config())
    assert (diagnostic.code, diagnostic.location) == (code, where)
    assert named in str(diagnostic)


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"revision": " "}, "empty", "data.revision"),
        ({"id": "a/b/c"}, "bad-hub-id", "data.id"),
        ({"id": ""}, "bad-hub-id", "data.id"),
        ({"id": "here"}, "ambiguous", "data.id"),
        ({"positive": "anchor"}, "duplicate-column", "data.positive"),
    ],
)
def test_an_invalid_configuration_sends_no_request(tmp_path, serve, hub_config, diagnostics_of, changes, code, where):
    (tmp_path / "here").mkdir()
    calls = serve({"anchor": ["a"], "positive": ["p"]})
    assert codes_and_locations(diagnostics_of(hub_config(**changes))) == [(code, where)]
    assert calls == []


class TestReach:
    @pytest.fixture(autouse=True)
    def _real_check(self, monkeypatch, _reachable):
        monkeypatch.undo()

    def test_sends_one_request_with_a_timeout(self, monkeypatch, hub_config):
        requests = []
        monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda self, *a, **k: requests.append((a, k)))
        hub._require_reachable(hub_config())
        assert requests == [(("owner/name",), {"revision": "abc123", "timeout": hub.REACH_TIMEOUT_S})]

    def test_offline_mode_sends_no_request(self, monkeypatch, hub_config):
        monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: True)
        monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", lambda *a, **k: pytest.fail("sent a request"))
        hub._require_reachable(hub_config())

    def test_a_closed_port_is_tried_once(self, monkeypatch, datasets, hub_config, diagnostics_of):
        monkeypatch.setattr(huggingface_hub, "is_offline_mode", lambda: False)
        monkeypatch.setattr(
            huggingface_hub.HfApi, "__init__", lambda self: setattr(self, "endpoint", "http://127.0.0.1:9")
        )
        monkeypatch.setattr(huggingface_hub.HfApi, "_build_hf_headers", lambda self, **k: {}, raising=False)
        monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("the library's own retries take minutes"))
        (diagnostic,) = diagnostics_of(hub_config())
        assert (diagnostic.code, diagnostic.location) == ("not-loadable", "data.id")
        assert "ConnectError" in diagnostic.message


def test_a_column_that_is_not_text_and_cannot_be_decoded(monkeypatch, datasets, hub_config, diagnostics_of):
    kinds = datasets.Features({"anchor": datasets.Image(), "positive": datasets.Value("string")})
    broken = datasets.Dataset.from_dict({"anchor": [{"path": None, "bytes": b"x"}], "positive": ["p"]}, features=kinds)
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **kwargs: broken)
    (diagnostic,) = diagnostics_of(hub_config())
    assert (diagnostic.location, diagnostic.expected) == ("owner/name:1", "texts")
