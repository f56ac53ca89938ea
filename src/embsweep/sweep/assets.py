"""What all trials of a sweep need and none should fetch for itself: texts as tokens, and base models as files."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from embsweep.config import build_config
from embsweep.config.search_space import Space, boundary_values
from embsweep.config.training import ModelConfig
from embsweep.core.errors import InputError
from embsweep.data.collection import Splits
from embsweep.models.registry import build_model
from embsweep.models.snapshot import Snapshot, find_snapshot
from embsweep.models.token_table import Texts, TokenTable, build_token_table
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.request import SweepRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SharedAssets:
    """A table for each way of cutting texts into tokens; the files of each model that other machines may not have."""

    tokens: tuple[TokenTable, ...] = ()
    models: tuple[Snapshot, ...] = ()


def prepare_assets(request: SweepRequest, prepared: PreflightResult) -> SharedAssets:
    """Tokenise all texts once for every model of the space, and find what must travel to a cluster."""
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
    """None for a model that cannot be had: the trials that want it fail with the reason, and no others."""
    try:
        return build_token_table(build_model(model, "cpu"), texts)
    except InputError as error:
        log.warning("no tokens of model %s: %s", model.name, error)
        return None


def collect_texts(cuts: Iterable[Splits]) -> Texts:
    """Every text that a trial on one of the `cuts` trains on or is measured with."""
    cuts = tuple(cuts)
    pairs = [pair for cut in cuts for pair in cut.train]
    training = [text or "" for pair in pairs for text in (pair.anchor, pair.positive, pair.negative)]
    queries = [query for cut in cuts for query in cut.validation.queries]
    return Texts(training, queries, [text for cut in cuts for text in cut.validation.corpus])


def _find_models(request: SweepRequest, prepared: PreflightResult) -> Iterator[ModelConfig]:
    """The recipe's model, and those at the ends or options of the dimensions that choose one."""
    yield prepared.recipe.model
    axes = [[(d.key, value) for value in boundary_values(d)] for d in _model_axes(request.space)]
    for point in itertools.product(*axes) if axes else ():
        try:
            yield prepared.scale.apply(build_config(request.compose(dict(point)))).model
        except InputError:
            continue  # a combination that only fails together


def _model_axes(space: Space) -> Space:
    return tuple(dimension for dimension in space if dimension.key.split(".")[0] == "model")
