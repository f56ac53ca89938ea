"""The only module that loads models with sentence-transformers: float32, none of their code, no progress bars."""

from __future__ import annotations

import pickle  # only for its errors
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import omit_unsafe_advice
from embsweep.models.completeness import require_complete_weights
from embsweep.models.safety import UnsafeModel, check_no_code, check_no_pickles

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def load_model(
    source: str,
    device: str | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    attention: str | None = None,
    may_hold_pickles: bool = False,
) -> SentenceTransformer:
    """Load a model with float32 weights from a folder or by its hub id. Code that comes with a model never runs.

    Other errors of the libraries pass unchanged.

    Args:
        source: A local folder or a hub id.
        device: Device of the weights; None takes the GPU if there is one.
        revision: Revision of a hub id.
        local_files_only: Use only local files, without requests to the hub.
        attention: Attention implementation; None keeps the model's own.
        may_hold_pickles: Allow weights in a pickle. This is for base models, some of which are published in no other
            form: torch then reads tensors from it and rejects everything else.

    Raises:
        UnsafeModel: If the model's files require code, or contain a pickle that is not allowed.
        IncompleteWeights: If they lack a tensor that the model uses, or one has another shape.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    folder = _fetch_configuration(source, revision, local_files_only=local_files_only)
    check_no_code(folder)
    if not may_hold_pickles:
        check_no_pickles(folder)
    options = {"dtype": torch.float32, "weights_only": True, "use_safetensors": None if may_hold_pickles else True}
    with no_progress_bars(), require_complete_weights(folder):
        try:
            return SentenceTransformer(
                source,
                device=device,
                trust_remote_code=False,
                revision=revision if folder == Path(source) else folder.name,  # the checked commit, not a later one
                local_files_only=local_files_only,
                model_kwargs={**options, **({"attn_implementation": attention} if attention else {})},
            )
        except pickle.UnpicklingError as error:
            reason = omit_unsafe_advice(str(error))
            raise UnsafeModel(
                "unsafe-model", f"its weights are a pickle that holds more than tensors ({reason})"
            ) from error


def _fetch_configuration(source: str, revision: str | None, *, local_files_only: bool) -> Path:
    """Return a local folder itself, or the cache's snapshot of a hub id, downloading its JSON files if necessary."""
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(
        snapshot_download(source, revision=revision, local_files_only=local_files_only, allow_patterns="*.json")
    )


def limit_length(model: SentenceTransformer, max_seq_length: int) -> SentenceTransformer:
    """Truncate inputs at `max_seq_length` tokens, special ones included, or at the model's own lower limit.

    Returns:
        The same model.
    """
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    first = model[0]
    if isinstance(first, StaticEmbedding):  # has no limit itself: its tokenizer has one, and saves it
        own = first.tokenizer.truncation
        first.tokenizer.enable_truncation(min(max_seq_length, own["max_length"]) if own else max_seq_length)
    else:
        model.max_seq_length = min(max_seq_length, model.max_seq_length or max_seq_length)
    return model


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Disable transformers' progress bars inside: it draws one for each model loaded or saved, even without a tty."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
