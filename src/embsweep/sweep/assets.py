"""Assets that all trials of a sweep share, prepared once: tokenised texts, and the files of base models."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embsweep.config.search_space import boundary_values
from embsweep.config.training import ModelConfig
from embsweep.core.errors import InputError
from embsweep.data.collection import Splits
from embsweep.models.builders import build_model
from embsweep.models.snapshot import Snapshot, find_snapshot
from embsweep.models.token_table import Texts, TokenTable, build_token_table
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.request import SweepRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedAssets:
    """One token table per tokenizer and length limit; the files of each model that other machines may not have."""

    tokens: tuple[TokenTable, ...] = ()
    models: tuple[Snapshot, ...] = ()


def prepare_assets(request: SweepRequest, prepared: PreflightResult) -> SharedAssets:
    """Tokenise all texts once for every model of the space, and find the model files that a cluster has to receive."""
    texts = collect_texts((prepared.splits, *prepared.folds))
    chosen = dict.fromkeys(_find_models(request, prepared))
    tables = (_tokenize(model, texts) for model in chosen)
    is_cluster = prepared.recipe.runner.kind == "cluster"
    snapshots = (find_snapshot(model) for model in chosen) if is_cluster else ()
    return SharedAssets(
        tuple(table for table in tables if table is not None),
        tuple(snapshot for snapshot in snapshots if snapshot is not None),
    )


def _tokenize(model: ModelConfig, texts: Texts) -> TokenTable | None:
    """Return a model's token table; None if no table can replace its tokenizer, or if the model is unavailable.

    Trials that use an unavailable model fail with the reason; the others are not affected.
    """
    try:
        return build_token_table(build_model(model, "cpu"), texts)
    except InputError as error:
        log.warning("no token table for model %s: %s", model.name, error)
        return None


def collect_texts(cuts: Iterable[Splits]) -> Texts:
    """Return every text that a trial on one of these splits trains on or is evaluated with."""
    cuts = tuple(cuts)
    pairs = [pair for cut in cuts for pair in cut.train]
    training = [text or "" for pair in pairs for text in (pair.anchor, pair.positive, pair.negative)]
    queries = [query for cut in cuts for query in cut.validation.queries]
    return Texts(training, queries, [text for cut in cuts for text in cut.validation.corpus])


def _find_models(request: SweepRequest, prepared: PreflightResult) -> Iterator[ModelConfig]:
    """Yield the recipe's model, and the models at the ends or options of the dimensions that change it."""
    yield prepared.recipe.model
    changing = [d for d in request.space if d.key.split(".")[0] == "model"]
    axes = [[(d.key, value) for value in boundary_values(d)] for d in changing]
    for point in itertools.product(*axes) if axes else ():
        try:
            yield prepared.scale.apply(request.configure(dict(point))).model
        except InputError:
            continue  # each value is valid, but not their combination
