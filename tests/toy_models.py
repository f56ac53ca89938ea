"""Models of a few words: real ones, made and trained in milliseconds."""

import numpy as np


def make_static(words, table):
    """A static model: `table[i]` is the embedding of `words[i]`; the first word stands for all that are not known."""
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
    """One in which question `qI` is passage `pI` plus noise: the less, the better it retrieves."""
    rng = np.random.default_rng(3)
    passages = rng.normal(size=(pairs, dim))
    questions = passages + noise * rng.normal(size=(pairs, dim))
    words = [f"{kind}{i}" for kind in "qp" for i in range(pairs)]
    return make_static(words, np.vstack([questions, passages]))
