"""The one place where sentence-transformers reads a model: float32, no code from it, no progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def load_model(
    source: str,
    device: str | None = None,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    attention: str | None = None,
) -> SentenceTransformer:
    """The model in a folder or of a hub id, with float32 weights; the library's own errors pass through.

    `device` None takes the GPU where there is one, `attention` None the model's own implementation. Code that comes
    with a model never runs.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    with no_progress_bars():
        return SentenceTransformer(
            source,
            device=device,
            trust_remote_code=False,
            revision=revision,
            local_files_only=local_files_only,
            model_kwargs={"dtype": torch.float32, **({"attn_implementation": attention} if attention else {})},
        )


def limit_length(model: SentenceTransformer, max_seq_length: int) -> None:
    """Cut inputs at `max_seq_length` tokens, special ones included, or at the model's own lower limit."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    first = model[0]
    if isinstance(first, StaticEmbedding):  # knows no limit of its own: its tokenizer does, and saves it
        own = first.tokenizer.truncation
        first.tokenizer.enable_truncation(min(max_seq_length, own["max_length"]) if own else max_seq_length)
    else:
        model.max_seq_length = min(max_seq_length, model.max_seq_length or max_seq_length)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Inside, transformers draws none: it would for the weights of every model loaded or saved, terminal or not."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
