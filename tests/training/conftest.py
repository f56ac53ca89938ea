"""Fixtures for tests of training: models and data whose scores can be computed by hand."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from embsweep.data.collection import Pair, RetrievalSet
from embsweep.models import builders
from embsweep.training.trial import TrialData
from tests.toy_models import make_static
from tests.training.tiny import build_tiny

WORDS = ["river", "engine", "piano", "desert", "court", "bakery", "glacier", "tunnel", "violin", "harvest"]


@pytest.fixture(scope="session")
def table_model():
    """`table_model(rows)` embeds the text "w3" as rows[3], exactly, with sentence-transformers' own classes."""
    return lambda rows: make_static([f"w{row}" for row in range(len(rows))], rows)


@pytest.fixture(scope="session")
def word_set():
    """`word_set(n_queries, n_corpus, relevant)`: queries are the first words, the corpus the next ones."""

    def build(n_queries: int, n_corpus: int, relevant: Sequence[Sequence[int]]) -> RetrievalSet:
        words = [f"w{row}" for row in range(n_queries + n_corpus)]
        sorted_relevant = tuple(tuple(sorted(passages)) for passages in relevant)
        return RetrievalSet("words", tuple(words[:n_queries]), tuple(words[n_queries:]), sorted_relevant)

    return build


@pytest.fixture(scope="session")
def shared_set(shared_data):
    """`shared_set(name)`: a real retrieval set from ../shared; the test is skipped if it is absent."""

    def load(name: str) -> RetrievalSet:
        folder = shared_data / name
        corpus, queries = (_read_jsonl(folder / f"{part}.jsonl") for part in ("corpus", "queries"))
        position = {doc: number for number, doc in enumerate(corpus)}
        relevant: dict[str, set[int]] = {}
        for line in (folder / "qrels.tsv").read_text("utf-8").splitlines():
            query, doc = line.split("\t")[:2]
            relevant.setdefault(query, set()).add(position[doc])
        judged = [query for query in queries if query in relevant]
        return RetrievalSet(
            name,
            tuple(queries[query] for query in judged),
            tuple(corpus.values()),
            tuple(tuple(sorted(relevant[query])) for query in judged),
        )

    return load


def _read_jsonl(path: Path) -> dict[str, str]:
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return {row["id"]: row["text"] for row in rows}


@pytest.fixture(scope="session")
def data():
    """Forty queries and forty passages that share no words: only training can match them."""
    passages = [f"{a} {b} number {i}" for i, (a, b) in enumerate(zip(WORDS * 4, sorted(WORDS) * 4, strict=True))]
    queries = [f"what of {chr(97 + i % 26)}{chr(97 + i // 26)}{i}" for i in range(40)]
    train = tuple(Pair(q, p) for q, p in zip(queries, passages, strict=True))
    held = RetrievalSet("toy", tuple(queries), tuple(passages), tuple((i,) for i in range(40)))
    return TrialData(train, held)


@pytest.fixture(scope="module")
def tiny_static(heavy_imports, data):
    """Let every trial build a static model of the words in `data`, whatever its configuration."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builders, "build_model", build_tiny(data))
        yield


@pytest.fixture(scope="session")
def tiny_model(data, tmp_path_factory):
    """Overrides for a tiny model that a cached loss can train: BERT of one layer and eight units, with dropout."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("tiny")
    texts = [*data.validation.queries, *data.validation.corpus]
    words = sorted({word for text in texts for word in text.split()})
    vocabulary = {word: row for row, word in enumerate(["[PAD]", "[UNK]", *words])}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=32, **sizes)).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    SentenceTransformer(modules=[Transformer(str(folder)), Pooling(8)], device="cpu").save(str(folder / "model"))
    return ("model=bge-m3", f"model.source={folder / 'model'}", "model.dim=8", "model.max_seq_length=16",
            "matryoshka.dims=[8,4]", "eval.dims=[8,4]")  # fmt: skip
