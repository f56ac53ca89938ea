"""A model of two words that a card can be written for, and the card."""

import functools

from embsweep.report.card import build_card


@functools.cache
def card_model():
    """384 dimensions, no transformer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    tokenizer = Tokenizer(WordLevel({"w0": 0, "w1": 1}, unk_token="w0"))
    table = torch.zeros(2, 384)
    return SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device="cpu")


def write(evidence):
    return build_card(evidence, card_model())
