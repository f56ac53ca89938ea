"""The third use case: audit the data as a sweep would, without a sweep."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embsweep.audit.examine import audit_data
from embsweep.audit.finding import check_waivers
from embsweep.audit.naive import TwoReadings, build_row_evaluation, compare_readings
from embsweep.audit.report import AuditReport
from embsweep.audit.used import read_used
from embsweep.config import Config
from embsweep.config.root import check_measurable
from embsweep.data.collection import Collection, Splits
from embsweep.data.split import split_collection
from embsweep.errors import Fault, InputError
from embsweep.sweep.preflight import check_chosen_model, checked_config, checked_data, distinct, find_storage
from embsweep.sweep.scale import decide_scale


@dataclass(frozen=True)
class AuditRequest:
    """What is audited; everything in it was checked."""

    config: Config
    collection: Collection
    splits: Splits


def check_audit(
    values: Mapping[str, Any], default_storage: Path, earlier: Iterable[Fault] = (), *, with_model: bool
) -> AuditRequest:
    """Check configuration and data, and the model where it is to rank. InputError with every fault.

    Without a GPU the data is audited as a full sweep would use it all the same; scale=rehearsal audits a rehearsal's.
    """
    faults = list(earlier)
    asked = checked_config(values, faults, check_measurable)
    config = asked and _scale(asked)
    if config is not None:
        faults.extend(check_waivers(config.audit.waive))
        faults.extend(check_chosen_model(config.model, faults) if with_model else ())
    collection = checked_data(values, find_storage(values, default_storage), faults)
    if config is None or collection is None or faults:
        raise InputError(distinct(faults))
    return AuditRequest(config, collection, split_collection(collection, config.data.split, config.data.max_pairs))


def run_audit(request: AuditRequest, *, with_model: bool) -> AuditReport:
    """The report, and in its figures the base model's own ranking beside BM25's where it is asked for."""
    config = request.config
    report = audit_data(request.collection, request.splits, config=config.audit, model=config.model, train=config.train)
    if not with_model:
        return report
    readings = (*report.figures.readings, _rank_base(request))
    return replace(report, figures=replace(report.figures, readings=readings))


def _rank_base(request: AuditRequest) -> TwoReadings:
    from embsweep.model.base import build_model
    from embsweep.trial.evaluator import encode_texts
    from embsweep.trial.metrics import MAX_RANK
    from embsweep.trial.ranking import rank

    evaluation = build_row_evaluation(read_used(request.splits))
    model, size = build_model(request.config.model), request.config.eval.batch_size
    queries = encode_texts(model, evaluation.data.queries, "query", batch_size=size)
    corpus = encode_texts(model, evaluation.data.corpus, "document", batch_size=size)
    ranking = rank(queries, corpus, MAX_RANK).cpu().numpy()
    return compare_readings(request.config.model.name, ranking, evaluation)


def _scale(config: Config) -> Config:
    """Nothing is trained here, so only an explicit rehearsal is one."""
    scale = decide_scale(
        config.scale.mode, has_gpu=True, longest_epochs=config.train.epochs, caps=config.scale.rehearsal
    )
    return scale.apply(config)
