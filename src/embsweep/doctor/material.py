"""Models, data and configurations of the steps, made in this process: nothing is downloaded."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.config.model import ModelConfig
from embsweep.config.training import (
    EvalConfig,
    LossConfig,
    MatryoshkaConfig,
    ObjectiveConfig,
    TrainConfig,
    TrialConfig,
)
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.doctor.setup import NetworkShape, Setup
from embsweep.models.embedded import locate_weights
from embsweep.training.trial import TrialData

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_NOUNS = (
    *("river", "engine", "piano", "desert", "court", "bakery", "glacier", "tunnel", "violin", "harvest", "bridge"),
    *("candle", "forest", "hammer", "island", "jacket", "kettle", "ladder", "market", "needle", "orchard", "pencil"),
    *("quarry", "ribbon"),
)
"""So few that every passage resembles others: the scores of a model stay well below 1."""

_OTHERS = ("what", "where", "is", "the", "of", "near", "and", "with", "a", "in", "how", "was", "has", "by", "for")
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def make_pairs(count: int, *, words: int = 12, seed: int = 7) -> tuple[Pair, ...]:
    """Return pairs of a question about three words and a passage with two of them.

    Args:
        count: Number of pairs, up to 2,024.
        words: Number of words of a passage, at least 2.
        seed: Seed of the choice.
    """
    draw = random.Random(seed)  # noqa: S311 - no secret
    topics = draw.sample([*itertools.combinations(_NOUNS, 3)], count)
    return tuple(
        Pair(f"where is the {a} near the {b} of {c}", " ".join([c, a, *draw.choices(_NOUNS + _OTHERS, k=words - 2)]))
        for a, b, c in topics
    )


def make_data(setup: Setup) -> TrialData:
    """Return training pairs, and questions on other passages for the evaluation."""
    pairs = make_pairs(setup.sizes.pairs + setup.sizes.queries)
    return TrialData(pairs[: setup.sizes.pairs], make_set(pairs[setup.sizes.pairs :]))


def make_set(pairs: Sequence[Pair]) -> RetrievalSet:
    """Return the questions of `pairs` with all of their passages as corpus."""
    relevant = tuple((row,) for row in range(len(pairs)))
    return RetrievalSet("doctor", tuple(p.anchor for p in pairs), tuple(p.positive for p in pairs), relevant)


def choose_model(setup: Setup, *, dropout: float = 0.1) -> ModelConfig:
    """Return MiniLM if its package is installed and the sizes are full, else a toy model of random weights.

    Args:
        setup: The step's setup; the toy model is written to its scratch folder.
        dropout: Dropout of the toy model; MiniLM is used only with 0.1, its own.
    """
    if setup.is_gpu and dropout == 0.1 and locate_weights() is not None:
        return ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=256, prompts=None)
    folder = write_toy_model(setup.scratch / "toy", setup.sizes.toy, dropout)
    hidden = setup.sizes.toy.hidden
    return ModelConfig(name="toy", kind="hub", source=str(folder), dim=hidden, max_seq_length=256, prompts=None)


def make_trial(model: ModelConfig, *, loss: LossConfig | None = None, **train: Any) -> TrialConfig:
    """Return a configuration with two evaluations; `train` replaces values of its `TrainConfig`."""
    recipe: dict[str, Any] = {
        "learning_rate": 5e-5,
        "epochs": 1.0,
        "batch_size": 32,
        "warmup": 0.1,
        "scheduler": "cosine",
        "optimizer": "adamw_torch_fused",
        "precision": "auto",
        "batch_sampler": "batch_sampler",
        "seed": 42,
    }
    dims = [model.dim, model.dim // 2]
    return TrialConfig(
        model=model,
        loss=loss or LossConfig(name="mnrl"),
        matryoshka=MatryoshkaConfig(dims=tuple(dims)),
        train=TrainConfig(**{**recipe, **train}),
        eval=EvalConfig(dims=tuple(dims), fractions=(0.5, 1.0), batch_size=64),
        objective=ObjectiveConfig(metric="map@100", aggregate="mean"),
    )


AUTO = make_trial(ModelConfig(name="bge-m3", kind="hub", source="BAAI/bge-m3", dim=1024, max_seq_length=512))
"""A configuration that leaves precision and attention to the hardware."""


def write_toy_model(folder: Path, shape: NetworkShape, dropout: float = 0.1) -> Path:
    """Write an XLM-RoBERTa of random weights with a tokenizer of the words above; return its folder.

    Args:
        folder: Folder to write to.
        shape: Shape of the encoder; its vocabulary is that of the tokenizer if it is 0.
        dropout: Dropout of hidden states and attention.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    from embsweep.models.loading import no_progress_bars

    plain = folder / "plain"
    with no_progress_bars():
        make_tokenizer().save_pretrained(str(plain))
        build_network(shape, dropout).save_pretrained(str(plain))
        modules = [Transformer(str(plain)), Pooling(shape.hidden)]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder / "model"), create_model_card=False)
    return folder / "model"


def make_tokenizer() -> Any:
    """Return a fast tokenizer of whole words."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = {word: row for row, word in enumerate([*SPECIAL, *_OTHERS, *_NOUNS])}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))  # noqa: S106 - a token
    tokenizer.pre_tokenizer = WhitespaceSplit()
    ends = [("<s>", words["<s>"]), ("</s>", words["</s>"])]
    tokenizer.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, model_max_length=512, **names
    )


def build_network(shape: NetworkShape, dropout: float = 0.1) -> Any:
    """Return an XLM-RoBERTa encoder with random weights from a fixed seed, on torch's default device."""
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    torch.manual_seed(3)
    config = XLMRobertaConfig(
        vocab_size=shape.vocabulary or len(SPECIAL) + len(_OTHERS) + len(_NOUNS),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    return XLMRobertaModel(config)


def replace_network(model: SentenceTransformer, network: Any) -> SentenceTransformer:
    """Put `network` in the place of the model's encoder; return the model."""
    first: Any = model[0]
    first.model = network
    return model
