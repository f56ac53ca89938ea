"""sentence-transformers' evaluation at several dimensions, as fine-tuning notebooks do it: an evaluator for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from embsweep.data.collection import RetrievalSet

if TYPE_CHECKING:
    from sentence_transformers.base.evaluation import SequentialEvaluator


def build_sequential(data: RetrievalSet, dims: Sequence[int], batch_size: int) -> SequentialEvaluator:
    """Build one InformationRetrievalEvaluator per dimension; its metrics are `dim_<dim>_cosine_<metric>`."""
    from sentence_transformers.base.evaluation import SequentialEvaluator
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    return SequentialEvaluator(
        [
            InformationRetrievalEvaluator(
                queries={f"q{number}": text for number, text in enumerate(data.queries)},
                corpus={f"{number:08d}": text for number, text in enumerate(data.corpus)},
                relevant_docs={f"q{n}": {f"{p:08d}" for p in found} for n, found in enumerate(data.relevant)},
                truncate_dim=dim,
                name=f"dim_{dim}",
                batch_size=batch_size,
                write_csv=False,
            )
            for dim in dims
        ]
    )
