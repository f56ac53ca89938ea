"""Serve token ids from a precomputed table; fall back to the tokenizer for texts that are not in it.

The lookup replaces sentence-transformers' call of the tokenizer, so that prompts, limits and everything around them
stay the library's own. All tensors of a batch are equal, and so is everything that is saved with the model.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embsweep.models.token_table import IDS, MASK, TYPES, TokenTable, compute_fingerprint, traits

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import nn
    from transformers import PreTrainedTokenizerFast

_log = logging.getLogger(__name__)

_PADDED = ({"padding": True, "truncation": "longest_first"}, {"return_tensors": "pt"})
_FLAT: tuple[dict[str, Any], dict[str, Any]] = ({"truncation": "longest_first", "return_attention_mask": False}, {})
"""Arguments of sentence-transformers 6.2 to a tokenizer: for a padded batch, for flash attention without padding."""


@contextmanager
def use_tokens(model: SentenceTransformer, tables: Iterable[TokenTable]) -> Iterator[bool]:
    """Let `model` take its tokens from the table made for its tokenizer and limit; yield whether there is one.

    Batches are equal to the tokenizer's in every tensor. The tokenizer itself is called for a whole batch in which
    one text is not in the table, for pairs of texts, and for settings beyond the library's defaults (a length of
    its own for queries or documents, processing options). A limit that is changed inside is detected, a token that
    is added to the tokenizer is not. A copy of the model, pickled or not, and a saved one have no table.
    """
    table = find_table(model, tables)
    if table is None:
        yield False
        return
    first = model[0]
    lookup: _Lookup = _Transformer(first, table) if hasattr(first, "processor") else _Static(first, table)
    first.__dict__[lookup.name] = lookup
    try:
        yield True
    finally:
        first.__dict__.pop(lookup.name, None)


def find_table(model: SentenceTransformer, tables: Iterable[TokenTable]) -> TokenTable | None:
    """Return the one of `tables` that was made for this model's tokenizer and length limit, or None."""
    tables = tuple(tables)
    fingerprint = compute_fingerprint(model) if tables else None
    found = next((table for table in tables if table.fingerprint == fingerprint), None)
    if tables and found is None:
        _log.info("no token table fits this model: its tokenizer is used")
    return found


class _Lookup:
    """Replacement of the method `name` of a model's first module. A copy of it is the plain method."""

    name: str

    def __init__(self, module: nn.Module, table: TokenTable) -> None:
        self.module = module
        self.table = table

    def __reduce__(self) -> tuple[Any, tuple[nn.Module, str]]:
        return _plain_method, (self.module, self.name)

    def find_rows(self, texts: Sequence[Any]) -> NDArray[np.int64] | None:
        """Return the row of each text, or None if one is no text or not in the table."""
        return self.table.find_rows(texts) if texts and all(isinstance(text, str) for text in texts) else None


def _plain_method(module: nn.Module, name: str) -> Any:
    return getattr(type(module), name).__get__(module)


class _Static(_Lookup):
    """`StaticEmbedding.preprocess`: the ids of all texts in a row, and where each begins."""

    name = "preprocess"

    def __call__(self, inputs: list[str], prompt: str | None = None, **kwargs: Any) -> dict[str, Any]:
        import torch

        rows = self.find_rows([prompt + text for text in inputs] if prompt else inputs)
        if rows is None:
            plain: dict[str, Any] = _plain_method(self.module, self.name)(inputs, prompt=prompt, **kwargs)
            return plain
        offsets = np.concatenate([[0], np.cumsum(self.table.lengths(rows)[:-1])])
        ids = self.table.gather(self.table.ids, rows)
        return {IDS: torch.from_numpy(ids), "offsets": torch.from_numpy(offsets)}


class _Transformer(_Lookup):
    """`Transformer._call_processor`: the tokenizer's call, with prompts already put before the texts."""

    name = "_call_processor"

    def __init__(self, module: nn.Module, table: TokenTable) -> None:
        super().__init__(module, table)
        self._traits = traits(self._tokenizer)

    @property
    def _tokenizer(self) -> PreTrainedTokenizerFast:
        tokenizer: PreTrainedTokenizerFast = self.module.processor  # type: ignore[assignment]
        return tokenizer

    def __call__(
        self,
        modality: object,
        processor_inputs: dict[str, list[Any]],
        modality_kwargs: dict[str, dict[str, Any]],
        common_kwargs: dict[str, Any],
        **others: Any,
    ) -> Any:
        requested = (modality_kwargs.get("text"), common_kwargs)
        if (
            modality == "text"
            and list(processor_inputs) == ["text"]
            and requested in (_PADDED, _FLAT)
            and self._is_as_built
        ):
            batch = self._look_up(processor_inputs["text"], is_padded=requested == _PADDED)
            if batch is not None:
                return batch
        plain = _plain_method(self.module, self.name)
        return plain(modality, processor_inputs, modality_kwargs, common_kwargs, **others)

    @property
    def _is_as_built(self) -> bool:
        tokenizer = self._tokenizer
        is_set = tokenizer.backend_tokenizer.encode_special_tokens == tokenizer.split_special_tokens
        return is_set and traits(tokenizer) == self._traits

    def _look_up(self, texts: list[Any], *, is_padded: bool) -> Any:
        from transformers import BatchEncoding

        rows = self.find_rows(texts)
        if rows is None or not self.table.lengths(rows).any():
            return None
        self._set_backend(is_padded=is_padded)
        return BatchEncoding(self._pad(rows) if is_padded else self._list(rows))

    def _set_backend(self, *, is_padded: bool) -> None:
        """Set truncation and padding as a call would: both are saved with the tokenizer."""
        tokenizer = self._tokenizer
        padding, truncation, limit, _ = tokenizer._get_padding_truncation_strategies(  # type: ignore[no-untyped-call]
            padding=is_padded, truncation="longest_first"
        )
        tokenizer.set_truncation_and_padding(padding, truncation, limit, 0, None, None)

    def _pad(self, rows: NDArray[np.int64]) -> dict[str, Any]:
        """Return tensors int64 [n_rows, longest], in the tokenizer's order."""
        import torch

        tokenizer, names = self._tokenizer, self._tokenizer.model_input_names
        lengths = self.table.lengths(rows)[:, None]
        places, width = np.arange(lengths.max()), lengths.max()
        is_token = places >= width - lengths if tokenizer.padding_side == "left" else places < lengths
        columns = {IDS: self._fill(is_token, tokenizer.pad_token_id, self.table.gather(self.table.ids, rows))}
        if TYPES in names:
            types = self.table.gather(self.table.types, rows)
            columns[TYPES] = self._fill(is_token, tokenizer.pad_token_type_id, types)
        if MASK in names:
            columns[MASK] = is_token.astype(np.int64)
        return {name: torch.from_numpy(column) for name, column in columns.items()}

    @staticmethod
    def _fill(is_token: NDArray[np.bool_], padding: int, values: NDArray[np.int64]) -> NDArray[np.int64]:
        filled = np.full(is_token.shape, padding, np.int64)
        filled[is_token] = values
        return filled

    def _list(self, rows: NDArray[np.int64]) -> dict[str, list[list[int]]]:
        """Return a list of tokens for each row, nothing padded."""
        columns = {IDS: self.table.ids}
        if TYPES in self._tokenizer.model_input_names:
            columns[TYPES] = self.table.types  # type: ignore[assignment]
        bounds = [(self.table.offsets[row], self.table.offsets[row + 1]) for row in rows]
        return {name: [column[start:end].tolist() for start, end in bounds] for name, column in columns.items()}
