"""Step on the evaluation: embeddings, cosines and metrics of the GPU against those of the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embsweep.data.collection import RetrievalSet
from embsweep.doctor.material import choose_model, make_data, make_trial
from embsweep.doctor.setup import Setup
from embsweep.doctor.verdicts import require
from embsweep.evaluation.evaluator import encode_texts, evaluate_embeddings
from embsweep.models.builders import build_model
from embsweep.selection.scores import find_largest_difference
from embsweep.training.verification import device_tolerance

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

_COSINE_DIFFERENCE = 1e-4
"""Float32 on both sides gives about 1e-6; a half precision that leaked into the evaluation gives 1e-3."""

_QUERIES_MOVED = 2
"""Queries of which the relevant passage may change places with another of nearly the same cosine."""


def check_evaluation(setup: Setup) -> str:
    """Encode and rank on the device and on the CPU; encode twice on the device."""
    import torch

    config, data = make_trial(choose_model(setup)), make_data(setup).validation
    model = build_model(config.model, setup.device)
    found, again = encode(model, data), encode(model, data)
    reference = encode(model.to("cpu"), data)
    cosines, exact = ((_cosines(*pair)).cpu() for pair in (found, reference))
    cosine = float((cosines - exact).abs().max())
    scores, expected = (
        evaluate_embeddings(*pair, data.relevant, config.eval_dims).scores for pair in (found, reference)
    )
    difference, dim, metric = find_largest_difference(expected, scores)
    is_equal = all(torch.equal(a, b) for a, b in zip(found, again, strict=True))
    tolerance = max(device_tolerance(setup.device), _QUERIES_MOVED / len(data.queries) if setup.is_gpu else 0.0)
    figures = (
        f"{config.model.name}, against the CPU: cosines differ by up to {cosine:.1e}, metrics by up to {difference:.1e}"
        f"{f' ({metric} at {dim})' if difference else ''}; encoded twice: {'' if is_equal else 'not '}equal to the bit"
    )
    require(cosine <= _COSINE_DIFFERENCE, f"{figures}; accepted: cosines up to {_COSINE_DIFFERENCE:g}")
    require(difference <= tolerance, f"{figures}; accepted: metrics up to {tolerance:g}")
    return figures


def encode(model: SentenceTransformer, data: RetrievalSet) -> tuple[Tensor, Tensor]:
    """Return the embeddings of queries and corpus on the model's device."""
    from embsweep.core.precision import default_precision

    with default_precision():
        queries = encode_texts(model, data.queries, "query", batch_size=64)
        return queries, encode_texts(model, data.corpus, "document", batch_size=64)


def _cosines(queries: Tensor, corpus: Tensor) -> Tensor:
    from torch.nn.functional import normalize

    return normalize(queries, dim=-1) @ normalize(corpus, dim=-1).T
