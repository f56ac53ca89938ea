"""Count a model's tokens without torch: its tokenizer from the embedded package, a folder or the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.model import ModelConfig
from embsweep.models.files import find_file, is_static, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TOKENIZERS = ("tokenizer.json", "0_Transformer/tokenizer.json", "0_StaticEmbedding/tokenizer.json")
_LIMITS = (
    (("sentence_bert_config.json", "max_seq_length"),),
    (("tokenizer_config.json", "model_max_length"), ("config.json", "max_position_embeddings")),
)
"""Files and keys of a model's token limit in sentence-transformers 6.2: the first group that has one, its minimum."""

_NO_LIMIT = 10**6
"""Tokenizers without a limit have one far above this."""


@dataclass(frozen=True)
class TokenCounter:
    """`limit` is the number of tokens that the model sees of a text, special ones included if it has any."""

    tokenizer: Tokenizer
    limit: int
    with_special: bool

    def count(self, text: str) -> int:
        """Count the tokens of a text before truncation, as they count against the limit."""
        return len(self.tokenizer.encode(text, add_special_tokens=self.with_special).ids)


def find_token_counter(cfg: ModelConfig) -> TokenCounter | None:
    """Return the counter, or None if this machine has no readable tokenizer; there is no request to the hub."""
    from tokenizers import Tokenizer

    path = find_file(cfg, _TOKENIZERS)
    if path is None:
        return None
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception:  # the library raises no narrower one for a file that it cannot read
        return None
    own = find_own_limit(cfg)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenCounter(tokenizer, min(cfg.max_seq_length, own or cfg.max_seq_length), not is_static(cfg))


def find_own_limit(cfg: ModelConfig, folder: Path | None = None) -> int | None:
    """Return a model's own limit of tokens, or None without one; a static model's is in its tokenizer's file.

    Args:
        cfg: Configuration of the model.
        folder: Copy of the model's files; None finds them by `cfg`.
    """
    if cfg.kind == "static":
        return None  # the file's limit is that of MiniLM
    if is_static(cfg, folder):
        path = find_file(cfg, _TOKENIZERS, folder)
        cut = read_json(path).get("truncation") if path else None
        return _as_limit(cut.get("max_length")) if isinstance(cut, dict) else None
    for group in _LIMITS:
        paths = [(find_file(cfg, [name, f"0_Transformer/{name}"], folder), key) for name, key in group]
        limits = [limit for path, key in paths if path and (limit := _as_limit(read_json(path).get(key)))]
        if limits:
            return min(limits)
    return None


def _as_limit(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value < _NO_LIMIT else None
