"""Training arguments for one GPU per process. Imports torch: import it only in a trial."""

from __future__ import annotations

from sentence_transformers import SentenceTransformerTrainingArguments


class OneGpuArguments(SentenceTransformerTrainingArguments):
    """The library's arguments for a trial, which has at most one GPU per process.

    If the process sees several, the trainer would multiply the batch size by their number and split each batch among
    them, and thereby the in-batch negatives.
    """

    @property
    def n_gpu(self) -> int:
        """The number of GPUs that the trainer uses: 1, or 0 on a CPU."""
        return min(int(super().n_gpu), 1)
