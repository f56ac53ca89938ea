"""Count a model's tokens without torch: its tokenizer from the embedded package, a folder or the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.config.training import ModelConfig
from embsweep.models.files import find_file, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TOKENIZERS = ("tokenizer.json", "0_Transformer/tokenizer.json", "0_StaticEmbedding/tokenizer.json")
_LIMITS = (
    ("sentence_bert_config.json", "max_seq_length"),
    ("tokenizer_config.json", "model_max_length"),
    ("config.json", "max_position_embeddings"),
)
"""Files and keys of a model's token limit; sentence-transformers 6.2 reads them in this order."""


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
    is_static = cfg.kind == "static" or path.parent.name == "0_StaticEmbedding"
    own = _own_limit(path.parent, tokenizer, is_static=is_static, is_embedded=cfg.kind == "static")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return TokenCounter(tokenizer, min(cfg.max_seq_length, own or cfg.max_seq_length), not is_static)


def _own_limit(folder: Path, tokenizer: Tokenizer, *, is_static: bool, is_embedded: bool) -> int | None:
    """Return the model's own limit. A static model's is in its tokenizer's file; the embedded one is ignored."""
    if is_static:
        own: dict[str, Any] | None = None if is_embedded else tokenizer.truncation
        return own["max_length"] if own else None
    limits = (read_json(folder / name).get(key) for name, key in _LIMITS)
    return next((value for value in limits if isinstance(value, int) and value > 0), None)
