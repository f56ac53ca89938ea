"""Tokens of many texts from a model's tokenizer, computed once and kept in a few flat arrays.

The keys of the texts are an array too: Ray's object store shares arrays with every process of a node without a copy,
but copies strings and dicts into each.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

IDS, TYPES, MASK = "input_ids", "token_type_ids", "attention_mask"

_KEY_BYTES = 16  # among 10^9 texts two share a key with a chance of 10^-21
_BATCH = 1024  # texts that are in memory as Python lists at a time


@dataclass(frozen=True)
class Texts:
    """Texts by their role in a model: each has other prompts."""

    training: Sequence[str] = ()
    queries: Sequence[str] = ()
    documents: Sequence[str] = ()


@dataclass(frozen=True)
class TokenTable:
    """The tokens of distinct texts, cut at the model's limit, special ones included, without padding.

    `keys` is S16 [n_texts], sorted; text i has the tokens `offsets[i]` to `offsets[i + 1]` (int64 [n_texts + 1])
    of `ids` (int32 [n_tokens]) and of `types` (uint8 [n_tokens], or [0] if the tokenizer returns none).
    `fingerprint` is that of the tokenizer and the limit (`compute_fingerprint`).
    """

    fingerprint: str
    keys: NDArray[np.bytes_]
    offsets: NDArray[np.int64]
    ids: NDArray[np.int32]
    types: NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """Bytes of all arrays together."""
        return sum(array.nbytes for array in (self.keys, self.offsets, self.ids, self.types))

    def find_rows(self, texts: Sequence[str]) -> NDArray[np.int64] | None:
        """Return the row of each text, int64 [n_texts]; None if one of them is not in the table."""
        wanted = compute_keys(texts)
        rows = np.searchsorted(self.keys, wanted)
        if len(self.keys) == 0 or rows.max(initial=0) == len(self.keys) or (self.keys[rows] != wanted).any():
            return None
        return rows

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Count the tokens of each of `rows`, int64 [n_rows]."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def gather(self, column: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the values of `ids` or `types` for all tokens of `rows`, one row after the other: int64, a copy."""
        spans = [column[self.offsets[row] : self.offsets[row + 1]] for row in rows]
        return np.concatenate(spans).astype(np.int64)


def build_token_table(model: SentenceTransformer, texts: Texts) -> TokenTable | None:
    """Build the table of every text as `model` would tokenize it in its role, with prompts and length limit.

    The model's tokenizer is left as it was. None if a table cannot replace it: no text model of
    sentence-transformers' Transformer or StaticEmbedding, a chat template, a tokenizer that is not the plain fast
    one, or one that draws at random.
    """
    fingerprint = compute_fingerprint(model)
    if fingerprint is None:
        return None
    distinct = [text for text in dict.fromkeys(_with_prompts(model, texts)) if _is_encodable(text)]
    keys = compute_keys(distinct)
    order = np.argsort(keys, kind="stable")
    lengths, ids, types = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.uint8)]
    for batch in _batches([distinct[position] for position in order]):
        columns = _tokenize(model, batch)
        lengths.append(np.array([len(row) for row in columns[IDS]], np.int64))
        ids.append(np.array([token for row in columns[IDS] for token in row], np.int32))
        types.append(np.array([kind for row in columns.get(TYPES, ()) for kind in row], np.uint8))
    offsets = np.cumsum(np.concatenate(lengths))
    return TokenTable(fingerprint, keys[order], offsets, np.concatenate(ids), np.concatenate(types))


def compute_keys(texts: Iterable[str]) -> NDArray[np.bytes_]:
    """Compute a key of 16 bytes for each text (blake2b of its UTF-8), S16 [n_texts]."""
    digests = [
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_KEY_BYTES).digest() for text in texts
    ]
    return np.array(digests, dtype=f"S{_KEY_BYTES}")


def compute_fingerprint(model: SentenceTransformer) -> str | None:
    """Compute a sha256 of all that decides the tokens of a text: tokenizer, length limit, side of truncation.

    None if no table can replace the model's tokenizer (`build_token_table`).
    """
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    first = model[0]
    if isinstance(first, StaticEmbedding):
        if first.tokenizer.padding is not None or _is_random(first.tokenizer):
            return None
        return _sha256("static", first.tokenizer.to_str())
    tokenizer = find_tokenizer(model)
    if tokenizer is None:
        return None
    with plain_backend(tokenizer.backend_tokenizer) as backend:
        return _sha256("transformer", backend.to_str(), json.dumps(traits(tokenizer)))


def traits(tokenizer: PreTrainedTokenizerFast) -> list[Any]:
    """Return the settings of a tokenizer, apart from its file, that change the tokens of a text."""
    return [
        min(tokenizer.model_max_length, 2**62),  # "none" is 10^30
        tokenizer.truncation_side,
        tokenizer.split_special_tokens,
        list(tokenizer.model_input_names),
    ]


def find_tokenizer(model: SentenceTransformer) -> PreTrainedTokenizerFast | None:
    """Return the tokenizer of a plain text transformer, or None if it is not transformers' own fast one."""
    from sentence_transformers.base.modules import Transformer
    from transformers import PreTrainedTokenizerFast

    first = model[0]
    if not isinstance(first, Transformer) or "text" not in first.modality_config or "message" in first.modality_config:
        return None
    tokenizer, plain = first.processor, PreTrainedTokenizerFast
    if not isinstance(tokenizer, plain) or hasattr(tokenizer, "_switch_to_input_mode"):
        return None
    if type(tokenizer).__call__ is not plain.__call__ or type(tokenizer)._encode_plus is not plain._encode_plus:
        return None
    return None if _is_random(tokenizer.backend_tokenizer) else tokenizer


@contextmanager
def plain_backend(tokenizer: Tokenizer) -> Iterator[Tokenizer]:
    """Disable truncation and padding inside: both are settings of the last call, and would be saved with it."""
    truncation, padding = tokenizer.truncation, tokenizer.padding
    tokenizer.no_truncation()
    tokenizer.no_padding()
    try:
        yield tokenizer
    finally:
        if truncation is not None:
            tokenizer.enable_truncation(**truncation)
        if padding is not None:
            tokenizer.enable_padding(**padding)


def _is_random(tokenizer: Tokenizer) -> bool:
    return bool(getattr(tokenizer.model, "dropout", None))


def _with_prompts(model: SentenceTransformer, texts: Texts) -> Iterator[str]:
    """Yield texts as passed to the tokenizer: `encode_query` and `encode_document` add prompts, training does not."""
    yield from texts.training
    yield from (_find_prompt(model, "query") + text for text in texts.queries)
    yield from (_find_prompt(model, "document", "passage", "corpus") + text for text in texts.documents)


def _find_prompt(model: SentenceTransformer, *names: str) -> str:
    """Find the prompt as sentence-transformers 6.2: the first of these names, else the model's default prompt."""
    name = next((name for name in names if name in model.prompts), model.default_prompt_name)
    return (model.prompts.get(name) if name else None) or ""


def _is_encodable(text: str) -> bool:
    """Return whether a tokenizer accepts the text: a lone surrogate raises, and must do so at its usual place."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    return (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))


def _tokenize(model: SentenceTransformer, texts: Sequence[str]) -> Mapping[str, Sequence[Sequence[int]]]:
    """Return ids (and types, if the tokenizer has them) of each text, truncated but not padded."""
    tokenizer = find_tokenizer(model)
    if tokenizer is None:
        backend: Tokenizer = model[0].tokenizer  # type: ignore[assignment]
        return {IDS: [found.ids for found in backend.encode_batch(texts, add_special_tokens=False)]}
    with plain_backend(tokenizer.backend_tokenizer):
        columns: dict[str, list[list[int]]] = tokenizer(list(texts), truncation="longest_first").data
    return columns


def _sha256(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
