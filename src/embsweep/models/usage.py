"""How a model is meant to be used, by its files and without torch: prompts, pooling, longest input.

Nothing is assumed that decides how texts are embedded: a folder that does not say it is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embsweep.config.model import POOLINGS, ModelConfig, Prompts
from embsweep.core.errors import Diagnostic, InputError
from embsweep.models.files import class_name, find_file, is_static, read_json, read_modules
from embsweep.models.hub import find_folder
from embsweep.models.prompts import ChosenPrompts, choose_prompts
from embsweep.models.token_counter import find_own_limit

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_MODULES = "modules.json"
_SETTINGS = "config_sentence_transformers.json"
_OUR_TYPE = "SentenceTransformer"
_ROUTERS = ("Router", "Asym")
_TOKENIZER_FILES = ("tokenizer*", "vocab*", "*.model", "*.tiktoken", "*.bpe")
_LEGACY_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Switches in a pooling's configuration, as sentence-transformers wrote them before it had `pooling_mode`."""


@dataclass(frozen=True)
class ModelUsage:
    """How a model is used. `pooling` is None for a model without one, `own_limit` None for one without a limit.

    `notes` says where its files differ from what its publisher or the configuration say.
    """

    prompts: ChosenPrompts
    pooling: str | None
    own_limit: int | None
    notes: tuple[str, ...] = ()

    def describe(self, cfg: ModelConfig) -> str:
        """Describe it in one line."""
        limit = min(cfg.max_seq_length, self.own_limit or cfg.max_seq_length)
        other = "mean of token embeddings" if is_static(cfg) else "no pooling"
        pooling = f"{self.pooling} pooling" if self.pooling else other
        return f"{self.prompts.describe()}, {pooling}, at most {limit} tokens of a text"


def inspect_usage(cfg: ModelConfig, folder: Path | None = None) -> ModelUsage | None:
    """Return how a model is used, or None if its files are not on this machine yet; there is no request to the hub.

    Args:
        cfg: Configuration of the model.
        folder: Copy of the model's files; None finds them by `cfg`.

    Raises:
        InputError: If its files do not say it and the configuration does not either, or if the two conflict, with all
            diagnostics.
    """
    if find_file(cfg, (_MODULES, "config.json"), folder) is None:
        return None
    diagnostics = [*_check_kind(cfg, folder), *_check_tokenizer(cfg, folder)]
    own, found = _read_pooling(cfg, folder), None
    diagnostics.extend(_check_pooling(cfg, own, has_modules=read_modules(cfg, folder) is not None))
    try:
        found = choose_prompts(cfg, read_own_prompts(cfg, folder))
    except InputError as error:
        diagnostics.extend(error.diagnostics)
    if diagnostics or found is None:
        raise InputError(diagnostics)
    limit = find_own_limit(cfg, folder)
    return ModelUsage(found, own or cfg.pooling, limit, tuple(_find_differences(cfg, found, own, limit)))


def check_usage(cfg: ModelConfig, folder: Path | None = None) -> list[Diagnostic]:
    """Return the diagnostics of `inspect_usage`."""
    try:
        inspect_usage(cfg, folder)
    except InputError as error:
        return list(error.diagnostics)
    return []


def describe_usage(cfg: ModelConfig) -> tuple[str, ...]:
    """Return a line with prompts, pooling and length, and one for each difference.

    Raises:
        InputError: As in `inspect_usage`.
    """
    usage = inspect_usage(cfg)
    if usage is None:
        return (f"Model {cfg.name}: its files are not on this machine yet, so its prompts and pooling are not known",)
    return (f"Model {cfg.name}: {usage.describe(cfg)}", *(f"  {note}" for note in usage.notes))


def apply_pooling(model: SentenceTransformer, cfg: ModelConfig, folder: Path | None = None) -> None:
    """Replace the pooling that sentence-transformers assumes for a transformer without `modules.json`."""
    from sentence_transformers.sentence_transformer.modules import Pooling

    if cfg.pooling is None or read_modules(cfg, folder) is not None:
        return
    for name, module in model.named_children():
        if isinstance(module, Pooling):
            setattr(model, name, Pooling(module.embedding_dimension, cfg.pooling).to(model.device))


def find_prompts(cfg: ModelConfig) -> Prompts:
    """Return the prompts of a model, empty if they are not known or not valid: both are reported elsewhere."""
    with suppress(InputError):
        usage = inspect_usage(cfg)
        return usage.prompts.texts if usage else Prompts()
    return Prompts()


def read_own_prompts(cfg: ModelConfig, folder: Path | None = None) -> Mapping[str, Any]:
    """Return the prompts in a model's files by name."""
    if cfg.kind == "static":  # made from the table of a model, whose settings do not belong to it
        return {}
    path = find_file(cfg, [_SETTINGS], folder)
    prompts = read_json(path).get("prompts") if path else None
    return prompts if isinstance(prompts, dict) else {}


def _find_modules(cfg: ModelConfig, folder: Path | None, *names: str) -> Iterator[dict[str, Any]]:
    """Yield the modules of some classes."""
    yield from (entry for entry in read_modules(cfg, folder) or () if class_name(entry) in names)


def _read_pooling(cfg: ModelConfig, folder: Path | None) -> str | None:
    """Return a model's own pooling, several modes joined by +; None if it has none, or does not say it."""
    if cfg.kind == "static":
        return None
    for entry in _find_modules(cfg, folder, "Pooling"):
        path = find_file(cfg, [f"{entry.get('path')}/config.json"], folder)
        settings = read_json(path) if path else {}
        modes = settings.get("pooling_mode") or [mode for key, mode in _LEGACY_POOLING.items() if settings.get(key)]
        return modes if isinstance(modes, str) else "+".join(map(str, modes)) or "mean"
    return None


def _check_kind(cfg: ModelConfig, folder: Path | None) -> Iterator[Diagnostic]:
    path = find_file(cfg, [_SETTINGS], folder)
    kind = read_json(path).get("model_type") if path else None
    if isinstance(kind, str) and kind != _OUR_TYPE:
        problem = f"is a {kind}, not a model that embeds each text in one vector"
        yield Diagnostic("wrong-file-kind", "model.source", problem, cfg.source, f"a {_OUR_TYPE}")
    if (head := _find_head(cfg, folder)) is not None:
        problem = f"is a {head}, whose scores or classes would be left out: a reranker or a classifier"
        yield Diagnostic("wrong-file-kind", "model.source", problem, cfg.source, "a model that embeds texts")
    if next(_find_modules(cfg, folder, *_ROUTERS), None):
        problem = "sends queries and passages through different modules (Router), which is not supported"
        hint = "train one of its modules: model.source=/path/to/model/<module's folder>"
        yield Diagnostic("not-supported", "model.source", problem, cfg.source, "the same modules for all texts", hint)


def _find_head(cfg: ModelConfig, folder: Path | None) -> str | None:
    """Return the class of a transformer that was trained with a head for classes, unless it has `modules.json`."""
    if cfg.kind == "static" or read_modules(cfg, folder) is not None:
        return None
    path = find_file(cfg, ["config.json"], folder)
    classes = read_json(path).get("architectures") if path else None
    named = map(str, classes if isinstance(classes, list) else ())
    return next((name for name in named if name.endswith("ForSequenceClassification")), None)


def _check_tokenizer(cfg: ModelConfig, folder: Path | None) -> Iterator[Diagnostic]:
    """Check that a folder has a tokenizer; transformers would make one to which every word is unknown."""
    root = (folder or find_folder(cfg)) if cfg.kind == "hub" else None
    if root is None or any(next(root.rglob(pattern), None) for pattern in _TOKENIZER_FILES):
        return
    problem, expected = "the folder contains no tokenizer", "its tokenizer.json or vocabulary"
    hint = f"AutoTokenizer.from_pretrained(BASE).save_pretrained('{cfg.source}') of the package transformers"
    yield Diagnostic("missing-file", "model.source", problem, cfg.source, expected, hint)


def _check_pooling(cfg: ModelConfig, own: str | None, *, has_modules: bool) -> Iterator[Diagnostic]:
    if cfg.kind == "static" or has_modules:
        if cfg.pooling not in (None, own):
            problem = f"the model's own pooling is {own}" if own else "the model has no pooling of its own to choose"
            yield Diagnostic("conflict", "model.pooling", problem, cfg.pooling, "null", "model.pooling=null")
    elif cfg.pooling is None:
        known = cfg.published.pooling
        hint = f"model.pooling={known if known in POOLINGS else 'mean'}"
        said = f"{hint}, as {cfg.name} was published" if known in POOLINGS else f"the one it was trained with, {hint}"
        problem = f"the model is a transformer without {_MODULES}, so nothing says how its tokens are pooled"
        yield Diagnostic("missing-value", "model.pooling", problem, cfg.source, ", ".join(POOLINGS), said)


def _find_differences(
    cfg: ModelConfig, prompts: ChosenPrompts, pooling: str | None, limit: int | None
) -> Iterator[str]:
    """Yield where the model's files differ from its publisher's facts or from the configuration."""
    known = cfg.published
    yield from (f"Prompts: {note}" for note in prompts.notes)
    if pooling and known.pooling and pooling != known.pooling:
        yield f"Pooling: the publisher names {known.pooling}; the model's own is used"
    if limit and known.max_seq_tokens and limit != known.max_seq_tokens:
        yield f"Length: the publisher names {known.max_seq_tokens} tokens, the model's files {limit}"
    if limit and limit < cfg.max_seq_length:
        yield f"Length: model.max_seq_length={cfg.max_seq_length} exceeds the model's own limit of {limit}"
