"""Refuse models whose files lack weights: transformers fills missing tensors with random numbers, and only logs it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.core.errors import CodedError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files of a transformer's weights, in the order in which transformers looks for them."""

_POOLER = re.compile(r"(?:.+\.)?pooler\.(?:dense\.)?(?:weight|bias)")
"""A head of BERT, XLM-R and ALBERT that sentence-transformers does not use: all outputs that `models/safety.py` accepts
come before it. Many models are published without its weights."""
_SHOWN = 3
_MODULES_ERROR = "Error(s) in loading state_dict"
_STATIC_TABLE = "embeddings"  # StaticEmbedding's second name for `embedding.weight`
_patched = threading.Lock()


class IncompleteWeights(CodedError):
    """A model's files lack a tensor that the model uses, or one has another shape."""


@contextmanager
def require_complete_weights(folder: Path) -> Iterator[None]:
    """Check the weights of every module that is loaded inside from `folder`.

    `PreTrainedModel.from_pretrained` reports missing tensors only if it is called with `output_loading_info`, and
    sentence-transformers cannot be told to: it is wrapped inside. The other modules check their tensors themselves;
    their errors become IncompleteWeights.

    Raises:
        IncompleteWeights: Names the first tensors and their file, or the module.
    """
    from transformers import PreTrainedModel

    def load(cls: type[PreTrainedModel], *args: Any, **kwargs: Any) -> Any:
        options = {**kwargs, "output_loading_info": True, "ignore_mismatched_sizes": True}  # mismatches are in `info`
        model, info = original.__func__(cls, *args, **options)
        if problems := _find_problems(info):
            file = _find_file(folder / str(kwargs.get("subfolder") or ""))
            raise IncompleteWeights("incomplete-weights", f"{file}: {_join(problems)}")
        return model

    with _patched:
        original = PreTrainedModel.__dict__["from_pretrained"]  # not before: another thread may have replaced it
        PreTrainedModel.from_pretrained = classmethod(load)  # type: ignore[method-assign, assignment]
        try:
            yield
        except FileNotFoundError as error:  # a file that an index names
            raise IncompleteWeights("incomplete-weights", str(error)) from error
        except (RuntimeError, KeyError) as error:
            if error.args == (_STATIC_TABLE,):
                raise IncompleteWeights("incomplete-weights", f"{folder}: embedding.weight is missing") from error
            if _MODULES_ERROR in str(error):
                raise IncompleteWeights("incomplete-weights", f"{folder}: {' '.join(str(error).split())}") from error
            raise
        finally:
            PreTrainedModel.from_pretrained = original  # type: ignore[method-assign]


def _find_problems(info: Mapping[str, Any]) -> list[str]:
    missing = [f"{name} is missing" for name in sorted(info["missing_keys"]) if not _POOLER.fullmatch(name)]
    return missing + [
        f"{name} has the shape {tuple(found)}, the model's configuration requires {tuple(wanted)}"
        for name, found, wanted in sorted(info["mismatched_keys"])
    ]


def _find_file(folder: Path) -> Path:
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), folder)


def _join(problems: list[str]) -> str:
    more = len(problems) - _SHOWN
    return "; ".join(problems[:_SHOWN]) + (f"; and {more} more" if more > 0 else "")
