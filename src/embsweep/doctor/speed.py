"""Work of a training step in floating point operations, and the published peaks of cards."""

from __future__ import annotations

import re

from embsweep.doctor.setup import NetworkShape

_PEAKS = (
    (r"\bB200\b", 2250e12),
    (r"\bH200\b(?! NVL)", 989e12),
    (r"\bH200 NVL\b", 835e12),
    (r"\bH100 PCIe\b", 756e12),
    (r"\bH100 NVL\b", 835e12),
    (r"\bH100\b", 989e12),
    (r"\bA100\b|\bA800\b", 312e12),
    (r"\bA40\b", 149.7e12),
    (r"\bA30\b", 165e12),
    (r"\bA10\b", 125e12),
    (r"\bL40S\b", 362e12),
    (r"\bL4\b", 121e12),
)
"""Pattern of a card's name → dense bf16 operations per second of its tensor cores, as NVIDIA publishes them.

Where a data sheet has only the figure for sparse matrices (H100, H200, B200, L4, L40S), half of it. Compared with
tables in other projects, not with the data sheets themselves; those of A40, B200 and H200 NVL were not compared at all.
"""


def find_peak(name: str) -> float | None:
    """Return a card's peak in dense bf16 operations per second, None if it is not in the table."""
    return next((peak for pattern, peak in _PEAKS if re.search(pattern, name)), None)


def count_layer_weights(shape: NetworkShape) -> int:
    """Return the weights that take part in matrix products: those of the layers, without embeddings and biases."""
    return shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.intermediate)


def count_operations(shape: NetworkShape, tokens: int) -> int:
    """Return the operations that training takes for one token of a text of `tokens` tokens.

    Forwards and backwards: 6 for each weight, and 12 * layers * hidden * length for attention (Chowdhery et al. 2022,
    "PaLM", appendix B). The share of the peak that follows is the model FLOPs utilisation: recomputed activations do
    not count.
    """
    return 6 * count_layer_weights(shape) + 12 * shape.layers * shape.hidden * tokens
