"""sentence-transformers' own card data, filled only from the evidence. Imported only to build a card."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from sentence_transformers.base.model_card import get_losses
from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator
from sentence_transformers.sentence_transformer.model_card import (
    SentenceTransformerModelCardCallback,
    SentenceTransformerModelCardData,
)
from sentence_transformers.sentence_transformer.training_args import SentenceTransformerTrainingArguments

from embsweep.config.model import ModelConfig
from embsweep.data.collection import name_negatives
from embsweep.models.hub import find_folder
from embsweep.models.losses import build_loss
from embsweep.reports.card.markdown import escape, number
from embsweep.reports.card.render import LISTED_VERSIONS
from embsweep.selection.evidence import WINNER, Evidence, TrainingRecord
from embsweep.training.hardware import HardwareSettings
from embsweep.training.trainer import build_arguments

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_DECIDED = ("bf16", "fp16", "gradient_checkpointing")
"""Training arguments that depend on the hardware, as a trial records them."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_MINILM = "sentence-transformers/all-MiniLM-L6-v2"
"""Base model from which both embedded models were made."""


@dataclass
class EvidenceCardData(SentenceTransformerModelCardData):
    """The library's card data with our tables; it never requests the hub and contains no text of the data."""

    tables: Mapping[int, str] = field(default_factory=dict, repr=False)
    max_tokens: int = field(default=0, repr=False)

    def format_eval_metrics(self) -> dict[str, Any]:
        """Format the metrics as the library does, with `tables` instead of its own and the split named in the index."""
        found: dict[str, Any] = super().format_eval_metrics()
        for entry in found["eval_metrics"]:
            entry["table"] = self.tables[int(entry["dataset_name"].removeprefix("dim_"))]
        for result in found["model-index"][0]["results"]:
            result["dataset"]["split"] = "test"
        return found

    def get_model_specific_metadata(self) -> dict[str, Any]:
        """Collect metadata as the library does; a model without a limit of its own gets the one it was trained with."""
        found: dict[str, Any] = super().get_model_specific_metadata()
        length = found["model_max_length"]
        return found if length is not None and math.isfinite(length) else {**found, "model_max_length": self.max_tokens}


def build_card_data(evidence: Evidence, model: SentenceTransformer, tables: Mapping[int, str]) -> EvidenceCardData:
    """Build new card data; `model` is not changed.

    Args:
        evidence: Source of every number.
        model: Model of the card.
        tables: Table of the test metrics at each dimension.
    """
    given = model.model_card_data
    data = EvidenceCardData(
        language=given.language or None,
        license=given.license,
        model_name=evidence.sweep,
        task_name="retrieval: finding the passages that answer a query",
        local_files_only=True,
        generate_widget_examples=False,
        tables=tables,
        max_tokens=evidence.training.config.model.max_seq_length,
    )
    data.register_model(model)
    data.ir_model, data.first_save = True, False
    data.base_model = find_hub_id(evidence.training.config.model)
    data.base_model_revision = evidence.training.config.model.revision
    recorded = {name.replace("-", "_"): version for name, version in evidence.versions.items()}
    data.version = {name: recorded.get(name, "not recorded") for name in LISTED_VERSIONS}
    data.add_tags(["generated_from_trainer", *(["rehearsal"] if evidence.rehearsal else [])])
    _add_dataset(data, evidence, model)
    _add_scores(data, evidence)
    _add_hyperparameters(data, evidence.training)
    _add_log(data, evidence)
    return data


def find_hub_id(config: ModelConfig) -> str | None:
    """Return the hub id of the base model, or None for a local model; local paths are not published."""
    if config.kind != "hub":
        return _MINILM
    source = str(config.source)
    return source if _HUB_ID.fullmatch(source) and find_folder(config) is None else None


def _add_dataset(data: EvidenceCardData, evidence: Evidence, model: SentenceTransformer) -> None:
    config = evidence.training.config
    loss = build_loss(config.loss, config.matryoshka, model)
    negatives = evidence.data.sizes.get("hard_negatives", int(bool(evidence.data.config.get("negative"))))
    columns = ["anchor", "positive", *name_negatives(negatives)]
    info = {"name": str(escape(evidence.data.name)), "size": evidence.data.sizes.get("train_pairs")}
    data.train_datasets = [data.compute_dataset_metrics(SimpleNamespace(column_names=columns), info, loss)]
    data.set_losses(get_losses(loss))
    if info["size"]:
        data.add_tags(f"dataset_size:{info['size']}")


def _add_scores(data: EvidenceCardData, evidence: Evidence) -> None:
    results: dict[Any, dict[str, Any]] = {}
    for dim in sorted(evidence.dims, reverse=True):
        name = f"dim_{dim}"
        evaluator = InformationRetrievalEvaluator({}, {}, {}, name=name, truncate_dim=dim)
        evaluator.primary_metric = f"{name}_cosine_{evidence.metric}"
        results[evaluator] = {f"{name}_cosine_{m}": v for m, v in evidence.test[WINNER].scores[dim].items()}
    data.eval_results_dict = results


def _add_hyperparameters(data: EvidenceCardData, training: TrainingRecord) -> None:
    """Add the arguments with the library's own callback, which selects those that belong on a card."""
    defaults: Any = SentenceTransformerTrainingArguments(output_dir="unused")
    values = _collect_arguments(training)
    callback: Any = SentenceTransformerModelCardCallback(defaults.to_dict())
    chosen = SimpleNamespace()  # not `data`: the callback would start the clock of a training there
    callback.on_train_begin(
        SimpleNamespace(to_dict=lambda: values), None, None, SimpleNamespace(model_card_data=chosen)
    )
    data.all_hyperparameters = chosen.all_hyperparameters
    data.non_default_hyperparameters = chosen.non_default_hyperparameters


def _collect_arguments(training: TrainingRecord) -> dict[str, Any]:
    """Build the trainer's arguments on this machine; those that depended on the training machine are its own."""
    anywhere = training.config.train.model_copy(update={"precision": "fp32"})
    arguments: Any = build_arguments(anywhere, Path("unused"), choice=HardwareSettings())
    listed = arguments.to_dict()
    if {"query_prompt", "document_prompt"} & training.facts.keys():
        del listed["prompts"]  # the card's own section has them, without the names of training columns
    on_cpu = str(training.facts.get("device", "cpu")).startswith("cpu")
    return {
        **listed,
        **{name: training.facts[name] for name in _DECIDED if name in training.facts},
        "use_cpu": on_cpu,
        "dataloader_pin_memory": not on_cpu,
        "tf32": training.config.train.tf32,
        "per_device_eval_batch_size": training.config.eval.batch_size,
    }


def _add_log(data: EvidenceCardData, evidence: Evidence) -> None:
    for row in evidence.training.log:
        scores = {f"dim_{dim}_cosine_{evidence.metric}": number(row.values[dim]) for dim in sorted(row.values)[::-1]}
        loss = {} if row.loss is None else {"Training Loss": number(row.loss)}
        shown = {"Schedule": f"{row.fraction:.4g}", "Objective": number(row.objective), **scores}
        line: dict[str, Any] = {"Epoch": number(row.epoch), "Step": row.step, **loss, **shown}
        data.training_logs.append(line)
        if row.is_saved:
            data.set_best_model_step(row.step)
