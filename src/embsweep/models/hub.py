"""Base models from a local folder, the Hugging Face cache or the hub."""

from __future__ import annotations

import json
import logging
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.config.model import USE_KNOWN_ARCHITECTURE, ModelConfig
from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError, describe_exception, omit_unsafe_advice
from embsweep.core.files import expand_home
from embsweep.core.gpu_errors import is_context_broken, is_out_of_memory
from embsweep.models.completeness import IncompleteWeights
from embsweep.models.loading import limit_length, load_model
from embsweep.models.safety import UnsafeModel, check_no_code

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

_log = logging.getLogger(__name__)

HUB_TIMEOUT_S = 5.0
"""Longest time that the preflight waits for the hub, name lookup and retries included."""

_Problem = tuple[Code, str]
_WAYS_OUT = (
    "give a local folder (model.source=/path/to/model), a cache that has it (HF_HOME=/path/to/cache), "
    "or another model (model=minilm)"
)
_ADAPTER = "adapter_config.json"
_MERGE = "merge the adapter into its base and save the whole model: PeftModel.merge_and_unload() of the package peft"
_COPY = "copy or download the model again"
_DATA_ONLY = "a model of data only: no class, kernel or loader of its own"
_CONFIGS = ("modules.json", "config.json")
_WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "0_StaticEmbedding/model.safetensors",
)


def build_hub(
    cfg: ModelConfig, device: str | None, attention: str | None = None, folder: Path | None = None
) -> SentenceTransformer:
    """Build the model at `cfg.source`: float32, truncating at min(`cfg.max_seq_length`, its own limit) tokens.

    A folder is read as it is. Any other source is a hub id: a cached model is used without a request to the hub, so
    that trials need no network; otherwise it is downloaded at `cfg.revision`.

    Args:
        cfg: Configuration of the model; `source`, `revision` and `max_seq_length` are used.
        device: Device of the weights; None takes the GPU if there is one.
        attention: Attention implementation; None keeps the model's own.
        folder: Copy of the model's files; None finds them by `cfg`.

    Raises:
        InputError: If the model is not available, not safe to load or broken (`model.source`): any error of the
            libraries becomes one, without the minutes of the client's own retries. Errors of memory and of the GPU pass
            unchanged: the model is not their cause.
    """
    try:
        return limit_length(_load(cfg, device, attention, folder), cfg.max_seq_length)
    except UnsafeModel as error:
        raise InputError(_describe_unsafe(cfg, error)) from error
    except IncompleteWeights as error:
        problem = f"is not loaded: {error}"
        raise InputError(Diagnostic(error.code, "model.source", problem, cfg.source, "a whole model", _COPY)) from error
    except Exception as error:
        if isinstance(error, InputError) or is_out_of_memory(error) or is_context_broken(error):
            raise
        raise InputError(
            Diagnostic(
                "not-loadable", "model.source", f"cannot be loaded ({_explain_load(error)})", cfg.source, hint=_WAYS_OUT
            )
        ) from error


def _explain_load(error: Exception) -> str:
    first = omit_unsafe_advice(str(error)).strip().partition("\n")[0]
    return first if isinstance(error, OSError | ValueError) and first else describe_exception(error)


def _load(cfg: ModelConfig, device: str | None, attention: str | None, folder: Path | None) -> SentenceTransformer:
    load = partial(load_model, device=device, attention=attention, may_hold_pickles=True)
    source, folder = str(cfg.source), folder or find_folder(cfg)
    if folder is not None:
        return load(str(folder), local_files_only=True)
    if _is_cached(cfg):
        try:
            return load(source, revision=cfg.revision, local_files_only=True)
        except OSError:
            _log.warning("the cached copy of %s is incomplete: requesting it from the hub", source)
    if diagnostics := _check_reachable(cfg):
        raise InputError(diagnostics)
    return load(source, revision=cfg.revision)


def fetch_hub(cfg: ModelConfig) -> Path:
    """Return the folder with the model's files, after downloading those that the cache lacks.

    Raises:
        InputError: As in `build_hub`.
    """
    folder = find_folder(cfg)
    if folder is not None:
        return folder
    build_hub(cfg, "cpu")
    return next(path.parent for name in _CONFIGS if (path := find_cached(cfg, name)))


def check_hub(cfg: ModelConfig) -> list[Diagnostic]:
    """Return diagnostics at `model.source` if it is not a model's folder, not cached and not on a reachable hub."""
    folder = find_folder(cfg)
    if folder is None and expand_home(str(cfg.source), "model.source").is_file():
        accepted = f"the folder of a model, with {' or '.join(_CONFIGS)}"
        return [Diagnostic("wrong-file-kind", "model.source", "is a file", cfg.source, accepted)]
    if folder is None:
        return [] if _is_cached(cfg) else _check_reachable(cfg)
    if (folder / _ADAPTER).is_file():
        base = _read_base(folder / _ADAPTER)
        problem = f"is an adapter, which changes another model ({base or 'unnamed'}), and not loaded without it"
        return [Diagnostic("unsafe-model", "model.source", problem, cfg.source, "a whole model", _MERGE)]
    if not any((folder / name).is_file() for name in _CONFIGS):
        accepted = f"a folder with {' or '.join(_CONFIGS)}"
        problem = "the folder contains no model"
        inside = min((path.parent for name in _CONFIGS for path in folder.glob(f"*/{name}")), default=None)
        hint = f"for example model.source={inside}" if inside else None
        return [Diagnostic("wrong-file-kind", "model.source", problem, cfg.source, accepted, hint)]
    try:
        check_no_code(folder)
    except UnsafeModel as error:
        return [_describe_unsafe(cfg, error)]
    return []


def _read_base(path: Path) -> str | None:
    """Return the base model that an adapter's configuration names, or None if it is unreadable or names none."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("base_model_name_or_path") if isinstance(found, dict) else None


def _describe_unsafe(cfg: ModelConfig, error: UnsafeModel) -> Diagnostic:
    hint = USE_KNOWN_ARCHITECTURE if "requires code" in str(error) else _MERGE if _ADAPTER in str(error) else None
    return Diagnostic("unsafe-model", "model.source", f"is not loaded: {error}", cfg.source, _DATA_ONLY, hint)


def find_folder(cfg: ModelConfig) -> Path | None:
    """Return the local folder that `cfg.source` names, or None if it does not name one."""
    folder = expand_home(str(cfg.source), "model.source")
    return folder if folder.is_dir() else None


def _check_reachable(cfg: ModelConfig) -> list[Diagnostic]:
    source = str(cfg.source)
    is_path = source.startswith(("/", "./", "../", "~"))
    found: _Problem | None = ("missing-file", "no such folder") if is_path else _query_hub(source, cfg.revision)
    return [Diagnostic(found[0], "model.source", found[1], source, hint=_WAYS_OUT)] if found else []


def _is_cached(cfg: ModelConfig) -> bool:
    """Return whether the cache has configuration and weights: an interrupted download has only the former."""
    return all(any(find_cached(cfg, name) for name in names) for names in (_CONFIGS, _WEIGHTS))


def find_cached(cfg: ModelConfig, name: str) -> Path | None:
    """Return a file of the hub id `cfg.source` in the Hugging Face cache, or None; there is no request to the hub."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(str(cfg.source), name, revision=cfg.revision)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def _query_hub(source: str, revision: str | None) -> _Problem | None:
    """Return the problem with a hub id, or None. A thread limits the wait: the client's timeout is per attempt."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "unreachable", "is not in the local cache, and HF_HUB_OFFLINE is set"
    answers: list[_Problem | None] = []
    thread = threading.Thread(target=lambda: answers.append(_request(source, revision)), daemon=True)
    thread.start()
    thread.join(HUB_TIMEOUT_S)
    if not answers:
        return "unreachable", f"is not in the local cache, and no hub answered in {HUB_TIMEOUT_S:g} s"
    return answers[0]


def _request(source: str, revision: str | None) -> _Problem | None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        HfApi().model_info(source, revision=revision, timeout=HUB_TIMEOUT_S / 2)
    except HFValidationError:
        return "bad-hub-id", "is neither a folder nor a hub id"
    except RevisionNotFoundError:
        return "not-on-hub", "the hub has no such revision"
    except RepositoryNotFoundError:
        return "not-on-hub", "the hub has no such model, or it is private (HF_TOKEN)"
    except Exception as error:  # any other error of the client
        return "unreachable", f"is not in the local cache, and the hub cannot be reached ({type(error).__name__})"
    return None
