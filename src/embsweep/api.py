"""Public functions of the package: run and read sweeps, evaluate a model, load the champion."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.evaluation.evaluator import Evaluation, evaluate_model
from embsweep.selection.evidence import Evidence
from embsweep.selection.scores import Scores

if TYPE_CHECKING:
    import pandas as pd
    from sentence_transformers import SentenceTransformer

    from embsweep.data.collection import Collection

__all__ = ["Evaluation", "Sweep", "SweepResult", "evaluate", "load_champion", "read_sweep", "run_sweep"]


@dataclass(frozen=True)
class SweepResult:
    """The winner of a finished sweep.

    `winner` is its trial and `params` are that trial's values of the searched keys. `test` holds every metric at every
    dimension on the test split, of the weights that are registered as `registered`. `evidence` holds everything that is
    known about the winner: verdict, comparisons with their intervals, audit, data, versions.
    """

    name: str
    winner: int
    params: Mapping[str, Any]
    test: Scores
    registered: str
    evidence: Evidence


@dataclass(frozen=True)
class Sweep:
    """A sweep as its ledger has it: RUNNING, FINISHED, KILLED (interrupted) or FAILED.

    `trials` has one row per trial, by number: `state` (running, paused at a rung from which it may go on, complete,
    stopped or failed), `objective` (the best one so far, on the validation split), `fraction` of the schedule,
    `attempt`, `reason` of a failure, the searched keys, and one column for each metric at each dimension
    (`map@100/256`). `baseline` is the objective of the untrained model; `winner` is None while there is no result.
    """

    name: str
    status: str
    objective: str
    baseline: float | None
    winner: int | None
    trials: pd.DataFrame
    _ledger: Path = field(repr=False, compare=False)

    @cached_property
    def importance(self) -> pd.DataFrame:
        """What mattered, computed from the ledger when it is first used (docs/search.md, "What mattered").

        It has one row for each target (`objective`, `map@100/256`) and searched key: `share` of the key in being among
        the best trials, the ends `low` and `high` of its 90 % interval, and `reason` if nothing can be said.
        """
        import pandas as pd

        from embsweep.search.attribution import NO_SHARE
        from embsweep.search.importance import read_importance

        found = read_importance(self._ledger)
        rows = [
            {"target": name, "parameter": key, **asdict(share), "reason": target.reason}
            for name, target in found.targets.items()
            for key, share in ((key, target.shares.get(key, NO_SHARE)) for key in found.params)
        ]
        columns = ["target", "parameter", "share", "low", "high", "reason"]
        return pd.DataFrame(rows, columns=columns).set_index(["target", "parameter"])


def run_sweep(config: Sequence[str] | Mapping[str, Any], *, quiet: bool = False) -> SweepResult:
    """Run, resume or extend a sweep, as `python run_sweep.py` does; return the result of a finished one at once.

    After an interruption the same call resumes the sweep. Do not call it from the main module of a script without an
    `if __name__ == "__main__":`, because trials and verifications run in processes of their own.

    Args:
        config: Overrides as on the command line, either as texts or as a mapping of key to value. A key with several
            values is searched: `{"train.learning_rate": "interval(1e-6,1e-4)"}`. Without a preset (`+sweep`) it is
            `quickstart`.
        quiet: Whether to print nothing.

    Raises:
        InputError: If the configuration, the data, the model or the machine are not usable; nothing was started.
        SweepRefused: If another process runs the sweep, or a different sweep has its name.
        TooManyFailures: If too many trials failed.
        EmbsweepError: If MLflow does not answer at the end, or the winner's scores are not reproduced.

    Example:
        >>> result = embsweep.run_sweep(
        ...     {"data": "files", "data.pairs": pairs, "search.trials": 1, "storage.path": storage, **small}, quiet=True
        ... )
        >>> result.registered
        'models:/quickstart/1 (alias challenger: models:/quickstart@challenger)'
        >>> sorted(result.test)
        [64, 128, 256, 384]
    """
    from rich.console import Console

    from embsweep.cli.composition.compose import config_loader
    from embsweep.cli.composition.request import read_request
    from embsweep.cli.console import console
    from embsweep.cli.main import with_default_sweep
    from embsweep.sweep.run import run_sweep as run

    lines = with_default_sweep(_to_overrides(config))
    with config_loader() as loader:
        request = read_request(loader, lines, f"embsweep.run_sweep({lines!r})")
    done = run(request, Console(quiet=True) if quiet else console())
    evidence = done.evidence
    params = evidence.training.params
    return SweepResult(
        evidence.sweep, evidence.verdict.winner, params, evidence.test["winner"].scores, done.registered, evidence
    )


def evaluate(
    model: SentenceTransformer | str,
    data: Iterable[tuple[str, str]] | str | Path,
    dims: Sequence[int] | None = None,
    *,
    batch_size: int = 32,
) -> Evaluation:
    """Score a model on pairs of query and passage at several dimensions, encoding every text once.

    Every passage is a candidate for every query. Each dimension is the first `dim` columns of the embeddings,
    renormalised; metrics are those of sentence-transformers' information retrieval evaluator.

    Args:
        model: A loaded model, or the folder or hub id of one. No code that comes with a model is run.
        data: Pairs of query and relevant passage; or a file of them with the columns `anchor` and `positive`, or
            usual names (JSONL, JSON, CSV, Parquet: docs/data.md); or a BEIR folder. Equal texts are one query or one
            passage.
        dims: The dimensions, by default the model's own only.
        batch_size: Texts per forward pass.

    Returns:
        `scores[dim][metric]`, and `per_query[dim][metric]`, float64 [n_queries].

    Raises:
        InputError: If the data have errors, or a dimension is not one of the model's.

    Example:
        >>> found = embsweep.evaluate(model, [("What is due in May?", "The tax is due in May.")], dims=[64, 32])
        >>> found.scores[32]["map@100"]
        1.0
    """
    from embsweep.data.splits import as_retrieval_set
    from embsweep.models.loading import load_model

    judged, _ = as_retrieval_set(_read_data(data))
    loaded = load_model(model) if isinstance(model, str) else model
    return evaluate_model(loaded, judged, dims or [loaded.get_embedding_dimension() or 0], batch_size=batch_size)


def read_sweep(name: str, *, storage: str | Path | None = None) -> Sweep:
    """Read a sweep, finished or not, from its ledger; nothing is changed.

    Args:
        name: Name of the sweep (`sweep.name`).
        storage: The storage folder (`storage.path`), by default that of the command line.

    Raises:
        InputError: If there is no such sweep.
        EmbsweepError: If its ledger cannot be read.

    Example:
        >>> sweep = embsweep.read_sweep("quickstart", storage=storage)
        >>> sweep.status, len(sweep.trials), sweep.winner
        ('FINISHED', 1, 0)
        >>> sweep.trials.loc[0, "state"]
        'complete'
        >>> set(sweep.importance["reason"])
        {'too few trials to say (1 with a value, at least 20 are needed)'}
    """
    import pandas as pd

    from embsweep.cli.paths import default_storage
    from embsweep.cli.status import find_sweep
    from embsweep.search.read import read_ledger

    folder = find_sweep(default_storage() if storage is None else Path(storage), name)
    metadata, records = read_ledger(folder.ledger) or ({}, ())
    rows = [
        {
            "number": record.number,
            "state": record.state,
            "objective": record.best,
            "fraction": record.fraction,
            "attempt": record.attempt,
            "reason": record.attributes.get("reason"),
            **record.params,
            **{f"{metric}/{dim}": value for dim, by_name in record.scores.items() for metric, value in by_name.items()},
        }
        for record in records
    ]
    trials = pd.DataFrame(rows).set_index("number") if rows else pd.DataFrame()
    return Sweep(
        name=name,
        status=metadata.get("status", "RUNNING"),
        objective=metadata.get("objective", ""),
        baseline=metadata.get("baseline", {}).get("objective"),
        winner=metadata.get("result", {}).get("winner"),
        trials=trials,
        _ledger=folder.ledger,
    )


def load_champion(
    name: str, *, storage: str | Path | None = None, uri: str | None = None, device: str | None = None
) -> SentenceTransformer:
    """Load the model that `embsweep promote` made champion, after comparing its files with the registered hashes.

    A champion without a record of its promotion, such as one set in MLflow's UI, is loaded with a warning.

    Args:
        name: Name of the registered model.
        storage: The storage folder with the local MLflow store, by default that of the command line.
        uri: The MLflow store; None means that of MLFLOW_TRACKING_URI, else the local one.
        device: Device of the weights; None takes the GPU if there is one.

    Raises:
        InputError: If there is no such model, or it has no champion.
        UntrustedModel: If its files differ from the registered ones.

    Example:
        >>> model = embsweep.load_champion("quickstart", storage=storage)
        >>> model.encode_query("What is due in May?", truncate_dim=64).shape
        (64,)
    """
    from embsweep.cli.paths import default_storage
    from embsweep.core.names import CHAMPION
    from embsweep.tracking.location import environment_uri
    from embsweep.tracking.registry.aliases import open_registry
    from embsweep.tracking.registry.champion import describe_unrecorded
    from embsweep.tracking.registry.load import find_version, load_registered

    store = open_registry(default_storage() if storage is None else Path(storage), uri or environment_uri())
    champion = find_version(store, name, CHAMPION)
    if unrecorded := describe_unrecorded(store, champion):
        warnings.warn(unrecorded, stacklevel=2)
    return load_registered(store, name, champion.version, device=device)


def _to_overrides(config: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """Return the lines of the command line that a mapping stands for."""
    if isinstance(config, str):
        return [config]
    if not isinstance(config, Mapping):
        return list(config)
    return [f"{key}={_to_text(value)}" for key, value in config.items()]


def _to_text(value: Any) -> str:
    """Return a value in the grammar of overrides; a text is taken as it is, so that it can name a space."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case list() | tuple():
            return f"[{','.join(map(_to_text, value))}]"
        case _:
            return str(value)


def _read_data(data: Iterable[tuple[str, str]] | str | Path) -> Collection:
    from embsweep.config.data import BeirConfig, FilesConfig, SplitConfig
    from embsweep.data.collection import Pair, build_collection
    from embsweep.data.sources.beir import load_beir
    from embsweep.data.sources.files import load_files

    if not isinstance(data, str | Path):
        pairs = [Pair(query, passage, place=f"data[{row}]") for row, (query, passage) in enumerate(data)]
        return build_collection("data", pairs)
    split = SplitConfig(seed=0, validation=0.1, test=0.1)
    if Path(data).is_dir():
        return load_beir(BeirConfig(kind="beir", path=str(data), split=split))
    return load_files(FilesConfig(kind="files", pairs=(str(data),), anchor="anchor", positive="positive", split=split))
