"""Fixtures: a harmless transformer of a few hundred weights, and copies of it to make hostile."""

import shutil
import sys

import pytest

from tests.security.hostile import write_module


@pytest.fixture(scope="session")
def harmless(tmp_path_factory):
    """Save a tiny BERT with sentence-transformers; return its folder."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    plain, saved = tmp_path_factory.mktemp("plain"), tmp_path_factory.mktemp("harmless") / "model"
    words = {word: row for row, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "law", "tax"])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    fast.save_pretrained(plain)
    sizes = {"hidden_size": 4, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 4}
    BertModel(BertConfig(vocab_size=7, max_position_embeddings=16, **sizes)).save_pretrained(plain)
    model = SentenceTransformer(modules=[(first := Transformer(str(plain))), Pooling(first.get_embedding_dimension())])
    model.save(str(saved), create_model_card=False)
    return saved


@pytest.fixture
def marker(tmp_path):
    """Return the path of a file that no test may create."""
    return tmp_path / "marker"


@pytest.fixture
def payload(marker, tmp_path, monkeypatch):
    """Make a module that writes the marker importable as `embsweep_test_payload`."""
    library = tmp_path / "library"
    library.mkdir()
    write_module(library, marker, "embsweep_test_payload")
    monkeypatch.syspath_prepend(str(library))
    monkeypatch.delitem(sys.modules, "embsweep_test_payload", raising=False)


@pytest.fixture
def victim(harmless, payload, tmp_path):
    """Return a copy of the harmless model, with `payload` importable."""
    return shutil.copytree(harmless, tmp_path / "victim")


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    from embsweep.tracking.store import open_store

    return open_store(tmp_path_factory.mktemp("storage"), uri=None, experiment="security")


@pytest.fixture
def outside_hydra():
    """Let Hydra start, which it refuses inside the session's loader."""
    from hydra.core.global_hydra import GlobalHydra

    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    yield
    state.hydra = before


from tests.sweep.conftest import launch_in, model_of, pairs  # noqa: E402, F401 - a sweep in this process
