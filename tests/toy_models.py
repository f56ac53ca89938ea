"""Real models with a vocabulary of a few words, built and trained in milliseconds."""

import numpy as np


def make_static(words, table):
    """Return a static model: `table[i]` is the embedding of `words[i]`; unknown words get that of the first word."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordLevel({word: row for row, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = Whitespace()
    weights = torch.as_tensor(table, dtype=torch.float32)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=weights)], device="cpu")


def make_noisy(pairs, dim, noise):
    """Return a model in which question `qI` is passage `pI` plus noise: the less noise, the better it retrieves."""
    rng = np.random.default_rng(3)
    passages = rng.normal(size=(pairs, dim))
    questions = passages + noise * rng.normal(size=(pairs, dim))
    words = [f"{kind}{i}" for kind in "qp" for i in range(pairs)]
    return make_static(words, np.vstack([questions, passages]))
