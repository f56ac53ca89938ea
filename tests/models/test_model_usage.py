"""What the files of a model say of its use: pooling, limit, and kinds of models that are refused."""

import json

import pytest
from tests.refusals import raises_diagnostics

from embsweep.config.model import ModelConfig
from embsweep.models.builders import check_model
from embsweep.models.usage import describe_usage, inspect_usage

NAMESPACE = "sentence_transformers.models."


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a model's JSON files: folder(modules=["Pooling"], pooling={...}, config={...})."""

    def write(*, modules=None, pooling=None, **files):
        if modules is not None:
            entries = [{"path": f"{i}_{name}", "type": NAMESPACE + name} for i, name in enumerate(modules)]
            (tmp_path / "modules.json").write_text(json.dumps(entries))
            for entry in entries:
                (tmp_path / entry["path"]).mkdir()
                (tmp_path / entry["path"] / "config.json").write_text(json.dumps(pooling or {}))
        for name, content in {"config": {}, "tokenizer": {}, **files}.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path

    return write


def config(source, **values):
    return ModelConfig(name="m", kind="hub", source=str(source), dim=4, max_seq_length=512, **values)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": ["mean", "max"]}, "mean+max"),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_lasttoken": True}, "lasttoken"),
        ({}, "mean"),
    ],
)
def test_own_pooling(folder, settings, expected):
    source = folder(modules=["Transformer", "Pooling"], pooling=settings)
    assert inspect_usage(config(source)).pooling == expected
    assert inspect_usage(config(source, published={"pooling": "weightedmean"})).notes != ()
    with raises_diagnostics(("conflict", "model.pooling")):
        inspect_usage(config(source, pooling="weightedmean"))


def test_a_transformer_without_modules_needs_a_pooling(folder):
    source = folder()
    with raises_diagnostics(("missing-value", "model.pooling")) as caught:
        inspect_usage(config(source, published={"pooling": "cls"}))
    assert "model.pooling=cls" in caught.value.diagnostics[0].hint
    assert inspect_usage(config(source, pooling="lasttoken")).pooling == "lasttoken"


def test_a_model_without_tokenizer_is_refused(folder):
    source = folder(modules=["Transformer"])
    (source / "tokenizer.json").unlink()
    with raises_diagnostics(("missing-file", "model.source")):
        inspect_usage(config(source))


@pytest.mark.parametrize("kind", ["CrossEncoder", "SparseEncoder"])
def test_a_model_that_returns_no_vector_is_refused(folder, kind):
    source = folder(modules=["Transformer"], config_sentence_transformers={"model_type": kind})
    (diagnostic,) = check_model(config(source))
    assert (diagnostic.code, diagnostic.location) == ("wrong-file-kind", "model.source")


def test_a_reranker_of_transformers_is_refused_with_any_pooling(folder):
    source = folder(config={"architectures": ["XLMRobertaForSequenceClassification"]})
    (diagnostic,) = check_model(config(source, pooling="cls"))
    assert (diagnostic.code, diagnostic.location) == ("wrong-file-kind", "model.source")


def test_a_router_is_refused(folder):
    (diagnostic,) = check_model(config(folder(modules=["Router"])))
    assert (diagnostic.code, diagnostic.location) == ("not-supported", "model.source")


def test_an_adapter_names_its_base_and_how_to_merge_it(folder):
    (diagnostic,) = check_model(config(folder(adapter_config={"base_model_name_or_path": "org/base"})))
    assert (diagnostic.code, diagnostic.location) == ("unsafe-model", "model.source")
    assert "org/base" in diagnostic.message
    assert "merge_and_unload" in diagnostic.hint


def test_a_model_with_code_is_refused_with_a_way_out(folder):
    (diagnostic,) = check_model(config(folder(modules=["Transformer"], config={"auto_map": {"AutoModel": "x.Y"}})))
    assert diagnostic.code == "unsafe-model"
    assert "model.source=" in diagnostic.hint


@pytest.mark.parametrize(
    ("files", "expected", "notes"),
    [
        ({"sentence_bert_config": {"max_seq_length": 128}, "config": {"max_position_embeddings": 514}}, 128, 1),
        ({"tokenizer_config": {"model_max_length": 9000}, "config": {"max_position_embeddings": 600}}, 600, 0),
        ({"tokenizer_config": {"model_max_length": 10**30}}, None, 0),
    ],
)
def test_the_own_limit_is_reported_if_it_is_below_the_configured_one(folder, files, expected, notes):
    usage = inspect_usage(config(folder(modules=["Transformer"], **files)))
    assert (usage.own_limit, len(usage.notes)) == (expected, notes)
    assert f"at most {min(512, expected or 512)} tokens" in usage.describe(config("/x"))


def test_a_model_that_is_not_here_yet(monkeypatch):
    assert len(describe_usage(config("owner/not-in-the-cache"))) == 1
