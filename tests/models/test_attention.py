"""Attention implementations: found before weights are loaded, passed to the model, replaced for float32."""

import pytest

from embsweep.config.training import ModelConfig
from embsweep.models.attention import find_attentions, float32_attention, read_attention
from embsweep.models.builders import build_model
from embsweep.models.embedded import PACKAGE


def _config(kind, source=None):
    return ModelConfig(name=kind, kind=kind, dim=384, max_seq_length=16, source=source)


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip(PACKAGE)
    return build_model(_config("minilm"), "cpu")


@pytest.mark.slow
def test_supported_attentions_of_an_architecture(tmp_path):
    pytest.importorskip(PACKAGE)
    assert find_attentions(_config("minilm")) == {"eager", "sdpa", "flash_attention_2"}
    assert find_attentions(_config("static")) == set()
    (tmp_path / "0_Transformer").mkdir()
    (tmp_path / "0_Transformer" / "config.json").write_text('{"model_type": "mpnet"}')
    assert find_attentions(_config("hub", str(tmp_path))) == {"eager"}, "the file is not only in the root folder"


@pytest.mark.slow
@pytest.mark.parametrize("content", [None, "{}", '{"model_type": "no_such_type"}'])
def test_supported_attentions_that_cannot_be_determined(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    assert find_attentions(_config("hub", str(tmp_path))) is None


@pytest.mark.slow
def test_no_request_is_sent_for_a_model_that_is_not_cached(monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("connected to the network"))
    assert find_attentions(_config("hub", "owner/not-in-the-cache")) is None


@pytest.mark.slow
def test_the_attention_is_passed_to_the_model_and_not_saved(minilm, tmp_path):
    assert read_attention(minilm) == "sdpa"
    eager = build_model(_config("minilm"), "cpu", attention="eager")
    assert read_attention(eager) == "eager"
    eager.save_pretrained(str(tmp_path), create_model_card=False)
    assert read_attention(build_model(_config("hub", str(tmp_path)), "cpu")) == "sdpa"
    again = build_model(_config("hub", str(tmp_path)), "cpu", attention="eager")
    assert read_attention(again) == "eager"


@pytest.mark.slow
def test_a_static_model_has_no_attention():
    pytest.importorskip(PACKAGE)
    assert read_attention(build_model(_config("static"), "cpu", attention="sdpa")) is None


@pytest.mark.slow
def test_float32_replaces_flash_attention(minilm, monkeypatch):
    import numpy as np

    network = minilm[0]
    monkeypatch.setattr(type(network), "_can_flatten_inputs", type(network)._is_flash_attention_requested)
    monkeypatch.setattr(type(network.model), "get_correct_attn_implementation", lambda _model, name, *_, **__: name)
    monkeypatch.setattr("transformers.modeling_utils.lazy_import_flash_attention", lambda *_: None)
    expected = minilm.encode(["a river", "an engine of some length"])
    network.model.config._attn_implementation = "flash_attention_2"
    network.can_flatten_inputs = True  # as the library sets it if flash_attn is installed
    try:
        with float32_attention(minilm):
            assert read_attention(minilm) == "sdpa"
            assert not network.can_flatten_inputs
            np.testing.assert_array_equal(minilm.encode(["a river", "an engine of some length"]), expected)
        assert read_attention(minilm) == "flash_attention_2"
        assert network.can_flatten_inputs
    finally:
        network.model.config._attn_implementation = "sdpa"
        network.unpad_inputs = None


@pytest.mark.slow
def test_float32_keeps_other_attentions():
    eager = build_model(_config("minilm"), "cpu", attention="eager")
    with float32_attention(eager):
        assert read_attention(eager) == "eager"
