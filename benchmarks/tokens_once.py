"""Benchmark a trial with precomputed tokens (models/token_table.py): time of tokenizing, and of the whole trial.

    OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false python benchmarks/tokens_once.py [n_pairs] [n_corpus]

A trial trains for one epoch on generated pairs and evaluates at four rungs: a static model on all of the texts, MiniLM
on a fifth. Times are CPU times: other processes disturb the wall clock. Losses and scores with and without a table must
be bit-identical. Needs `pip install "embsweep[embedded]"`.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from transformers import PrinterCallback, TrainerCallback

from embsweep.config.training import ModelConfig
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import evaluate_model
from embsweep.models.builders import build_model
from embsweep.models.token_lookup import use_tokens
from embsweep.models.token_table import Texts, TokenTable, build_token_table

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

ROUNDS = 2  # the faster one of each counts
RUNGS = 4
BATCH_SIZE = 32
DIMS = (384, 128)
WORDS = ("tax", "law", "river", "engine", "poem", "fever", "orchard", "verdict", "signal", "court", "rent", "pension")


@dataclass(frozen=True)
class Trial:
    """CPU seconds in total and inside `model.preprocess`, and the resulting loss and scores."""

    total_s: float
    tokenizing_s: float
    outcome: list[Any]


def main(n_pairs: int = 640, n_corpus: int = 600) -> None:
    """Print both ratios for both models; exit with a message if a loss or score differs."""
    for kind, part in (("static", 1), ("minilm", 5)):
        data = make_set(n_pairs // part, n_corpus // part)
        table = build_table(kind, data)
        plain, looked_up = [], []
        for _ in range(ROUNDS):
            plain.append(run_trial(kind, data, None))
            looked_up.append(run_trial(kind, data, table))
        if any(trial.outcome != plain[0].outcome for trial in plain + looked_up):
            sys.exit(f"{kind}: a loss or a score differs")
        say(f"{kind}: {describe(plain, looked_up)}")


def describe(plain: list[Trial], looked_up: list[Trial]) -> str:
    """Return the ratios of the best times as text."""
    tokenizing = min(t.tokenizing_s for t in plain) / min(t.tokenizing_s for t in looked_up)
    best = min(trial.total_s for trial in plain)
    share = min(trial.tokenizing_s for trial in plain) / best
    total = best / min(trial.total_s for trial in looked_up)
    return f"tokenizing {tokenizing:.1f}x faster, it took {share:.1%} of a trial; trial {total:.2f}x faster"


def make_set(n_pairs: int, n_corpus: int) -> RetrievalSet:
    """Generate passages of 20 to 120 random words; a query is six words of its passage."""
    rng = random.Random(0)  # noqa: S311
    corpus = [" ".join(rng.choices(WORDS, k=rng.randint(20, 120))) + f" {number}" for number in range(n_corpus)]
    relevant = [rng.randrange(n_corpus) for _ in range(n_pairs)]
    queries = [" ".join(rng.sample(corpus[passage].split(), 6)) for passage in relevant]
    return RetrievalSet("generated", tuple(queries), tuple(corpus), tuple((passage,) for passage in relevant))


def build_table(kind: str, data: RetrievalSet) -> TokenTable:
    """Build the token table of all texts."""
    table = build_token_table(
        make_model(kind), Texts([*data.queries, *data.corpus], queries=data.queries, documents=data.corpus)
    )
    if table is None:
        sys.exit(f"{kind}: no table can be made")
    return table


def run_trial(kind: str, data: RetrievalSet, table: TokenTable | None) -> Trial:
    """Train and evaluate a model, which is loaded before the time starts.

    Args:
        kind: Kind of the model.
        data: Training pairs and evaluation set.
        table: Token table to use; None tokenizes every batch.
    """
    model = make_model(kind)
    rungs = Rungs(model, data)
    start = time.process_time()
    with use_tokens(model, [] if table is None else [table]), timed_preprocess(model) as spent_s:
        trainer = build_trainer(model, data, rungs)
        loss = trainer.train().training_loss
    return Trial(time.process_time() - start, sum(spent_s), [loss, *rungs.scores])


def build_trainer(model: SentenceTransformer, data: RetrievalSet, rungs: Rungs) -> SentenceTransformerTrainer:
    """Build a trainer of one epoch over the queries and their passages.

    Args:
        model: Model to train.
        data: Its training pairs.
        rungs: Callback that evaluates the model.
    """
    arguments = SentenceTransformerTrainingArguments(
        output_dir=tempfile.gettempdir(),
        per_device_train_batch_size=BATCH_SIZE,
        num_train_epochs=1,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    columns = {"anchor": list(data.queries), "positive": [data.corpus[found[0]] for found in data.relevant]}
    loss = MultipleNegativesRankingLoss(model)
    trainer = SentenceTransformerTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict(columns), loss=loss, callbacks=[rungs]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


class Rungs(TrainerCallback):
    """Callback that records the evaluation scores at every rung."""

    def __init__(self, model: SentenceTransformer, data: RetrievalSet) -> None:
        self._model = model
        self._data = data
        self.scores: list[Any] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Evaluate after each quarter of the steps, or after each step if there are fewer than four.

        Args:
            args: Unused.
            state: Number of the step, and of all steps.
            control: Unused.
            **_: Unused.
        """
        if state.global_step % max(state.max_steps // RUNGS, 1) == 0:
            self.scores.append(evaluate_model(self._model, self._data, DIMS, batch_size=BATCH_SIZE).scores)


@contextmanager
def timed_preprocess(model: SentenceTransformer) -> Iterator[list[float]]:
    """Record the CPU seconds of every call of `model.preprocess` inside."""
    own, spent_s = model.preprocess, [0.0]

    def preprocess(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return own(*args, **kwargs)
        finally:
            spent_s.append(time.process_time() - start)

    model.__dict__["preprocess"] = preprocess
    try:
        yield spent_s
    finally:
        del model.__dict__["preprocess"]


def make_model(kind: Any) -> SentenceTransformer:
    """Build a model on the CPU, with 128 tokens."""
    return build_model(ModelConfig(name=kind, kind=kind, dim=384, max_seq_length=128), "cpu")


def say(line: str) -> None:
    """Print a line to stdout."""
    print(line)  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
