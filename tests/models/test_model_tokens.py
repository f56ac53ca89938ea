"""Tokens counted without torch, compared with the model's own tokenizer."""

import json
import shutil
import subprocess
import sys

import pytest

from embsweep.config.training import ModelConfig
from embsweep.models.embedded import find_weights
from embsweep.models.token_counter import find_token_counter

MINILM = ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=128)
TEXTS = ["Ünïted states", "a house " * 150, "§ 12 Abs. 3 Satz 1"]


@pytest.fixture
def copied(tmp_path):
    """Return a function that copies MiniLM's tokenizer and limits, without weights, to a local folder."""

    def copy(*names, **limits):
        source = find_weights().parent
        for name in ("tokenizer.json", *names):
            shutil.copy(source / name, tmp_path / name)
        for name, value in limits.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(value))
        return MINILM.model_copy(update={"kind": "hub", "source": str(tmp_path), "max_seq_length": 1000})

    return copy


def test_counts_are_those_before_truncation():
    counter = find_token_counter(MINILM)
    assert counter.limit == 128
    assert [counter.count(text) for text in ("", "house", "a house " * 150)] == [2, 3, 302]


def test_a_static_model_has_no_special_tokens_and_no_limit_of_its_own():
    counter = find_token_counter(MINILM.model_copy(update={"kind": "static", "max_seq_length": 900}))
    assert (counter.limit, counter.count("house")) == (900, 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "limits", "limit"),
    [
        (["sentence_bert_config.json", "config.json"], {}, 256),
        (["tokenizer_config.json"], {}, 512),
        (["config.json"], {}, 512),
        ([], {}, 1000),
        ([], {"sentence_bert_config": {"max_seq_length": None}, "config": {"max_position_embeddings": 77}}, 77),
        ([], {"config": ["no object"]}, 1000),
    ],
)
def test_the_models_own_limit(copied, files, limits, limit):
    assert find_token_counter(copied(*files, **limits)).limit == limit


@pytest.mark.parametrize("source", ["/nowhere/at/all", "no such:id", "owner/not-in-the-cache"])
def test_no_counter_without_a_tokenizer(source):
    assert find_token_counter(MINILM.model_copy(update={"kind": "hub", "source": source})) is None


def test_no_counter_if_the_tokenizer_cannot_be_read(copied, tmp_path):
    model = copied()
    (tmp_path / "tokenizer.json").write_text("{")
    assert find_token_counter(model) is None


@pytest.mark.slow
def test_torch_is_not_loaded():
    code = (
        "import sys; from embsweep.models.token_counter import find_token_counter as f; "
        "from embsweep.config.training import ModelConfig as M; "
        "f(M(name='minilm', kind='minilm', dim=384, max_seq_length=9)).count('x'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_counts_agree_with_the_model(kind):
    from embsweep.models.builders import build_model

    cfg = MINILM.model_copy(update={"kind": kind})
    model, counter = build_model(cfg, "cpu"), find_token_counter(cfg)
    for text in TEXTS:
        ids = model.tokenize([text])["input_ids"]
        assert len(ids.flatten()) == min(counter.count(text), counter.limit)
