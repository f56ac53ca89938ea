"""Safety check of a model's files: data and names of known classes only; whatever would select code is rejected.

sentence-transformers and transformers require `trust_remote_code` to import code that comes with a model. They do not
require it for: anything below `sentence_transformers.` (so also `….base.model.torch`), any `torch.…` as an activation,
an attention kernel of the hub, keywords for `torch.load` in a module's configuration, any method of the network by
name, and files outside the checked ones: another tokenizer, a linked folder, weights that an index names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from embsweep.core.errors import CodedError
from embsweep.models.weight_index import SUFFIX, check_index

PICKLES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})
"""Suffixes of files that may run code when they are loaded without restrictions."""

_MODULE = re.compile(
    r"sentence_transformers\.(?:models|(?:base|sentence_transformer)\.modules)(?:\.[A-Za-z_]+)?"
    r"\.(?:Transformer|Pooling|Normalize|Dense|LayerNorm|Dropout|StaticEmbedding|WeightedLayerPooling|Router|Asym)"
)
_ACTIVATION = re.compile(r"torch\.nn\.modules\.(?:activation\.[A-Z]\w*|linear\.Identity)")
_PLAIN = re.compile(r"[\w.\- ]*")
_NOT_CONFIGURATIONS = ("tokenizer.json", "vocab.json", "manifest.json")  # large, and not read by any class loader
_KEYWORDS = re.compile(r"(?P<part>model|tokenizer|processor|config)_(?:args|kwargs)")
_MODEL_KEYWORDS = frozenset(
    {
        "add_pooling_layer",
        "attn_implementation",
        "dtype",
        "torch_dtype",
        "unpad_inputs",
        "use_memory_efficient_attention",
    }
)
_TASK = "feature-extraction"
"""The only task of an embedding model; `retrieval` looks its class up by any name in `transformers`."""
_METHOD = "forward"
_METHOD_OUTPUTS = ("last_hidden_state", "hidden_states")
_LOADERS_OWN = frozenset({"cache_dir", "code_revision", "local_files_only", "revision", "subfolder", "token"})


class UnsafeModel(CodedError):
    """A model's files name code to run, or contain a pickle."""


def check_no_code(folder: Path) -> None:
    """Check that no file in `folder` selects code: classes, kernels or keywords of loaders.

    Entries that cannot be checked are rejected too: linked folders, which loaders follow and this walk does not, pipes
    and devices. Links to files are accepted: the hub's cache consists of them.

    Raises:
        UnsafeModel: If there are such entries; its text lists all of them.
    """
    diagnostics = [diagnostic for path in sorted(folder.rglob("*")) for diagnostic in _check_path(path, folder)]
    if diagnostics:
        raise UnsafeModel("unsafe-model", "; ".join(diagnostics))


def check_no_pickles(folder: Path) -> None:
    """Check that `folder` contains no pickles.

    Raises:
        UnsafeModel: If there is a pickle; its text names the first one.
    """
    for path in sorted(folder.rglob("*")):
        if path.suffix in PICKLES:
            raise UnsafeModel("unsafe-model", f"{path.relative_to(folder)}: is a pickle; accepted: safetensors only")


def _check_path(path: Path, folder: Path) -> Iterator[str]:
    name = path.relative_to(folder).as_posix()
    if path.is_dir() and path.is_symlink():
        yield f"{name} is a link to a folder"
    elif path.exists() and not (path.is_dir() or path.is_file()):
        yield f"{name} is neither a file nor a folder"
    elif path.suffix == ".json":
        yield from _check_file(path, name)


def _check_file(path: Path, name: str) -> Iterator[str]:
    if path.name in _NOT_CONFIGURATIONS:
        return
    diagnostics = check_index(path) if path.name.endswith(SUFFIX) else _check_configuration(path)
    yield from (f"{name} {diagnostic}" for diagnostic in diagnostics)


def _check_configuration(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text("utf-8"))
        return [*_check_classes(path.name, content), *_check_values(content)]
    except (OSError, ValueError, RecursionError) as error:
        return [f"cannot be read ({type(error).__name__})"]


def _check_classes(file: str, content: Any) -> Iterator[str]:
    if file == "modules.json":
        yield from _check_modules(content)
    if file == "adapter_config.json":
        yield "names another model to load; merge the adapter into its model"
    if not isinstance(content, dict):
        return
    types = content.get("types")
    if file == "router_config.json" or (file == "config.json" and isinstance(types, dict)):  # both belong to a router
        for kind in types.values() if isinstance(types, dict) else [types]:
            yield from _check_module(kind)
    activation = content.get("activation_function")
    if isinstance(activation, str) and "." in activation and not _ACTIVATION.fullmatch(activation):
        yield f"names the activation {activation!r}; accepted: torch.nn.modules.activation.*"


def _check_modules(content: Any) -> Iterator[str]:
    modules = content or []
    if not isinstance(modules, list) or not all(isinstance(module, dict) for module in modules):
        yield "is not a list of modules"
        return
    for module in modules:
        yield from _check_module(module.get("type"))
        path = PurePosixPath(str(module.get("path", "")))
        if path.is_absolute() or ".." in path.parts:
            yield f"points outside the model's folder ({path})"


def _check_module(kind: Any) -> Iterator[str]:
    if not (isinstance(kind, str) and _MODULE.fullmatch(kind)):
        yield f"names the module {kind!r}; accepted: modules of sentence_transformers"


def _check_values(node: Any) -> Iterator[str]:
    """Yield what no configuration may contain, at any depth."""
    if isinstance(node, list):
        for inner in node:
            yield from _check_values(inner)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        yield from _check_entry(key, value)
        yield from _check_values(value)


def _check_entry(key: str, value: Any) -> Iterator[str]:
    if key in ("auto_map", "custom_pipelines", "trust_remote_code") and value:
        yield f"requires code of its own ({key})"
    elif key in ("quantization_config", "compression_config") and value:
        yield f"has quantized weights ({key}), which another package would read; accepted: floating-point weights"
    elif key == "tokenizer_name_or_path" and value is not None:
        yield f"names another tokenizer to load ({value!r})"
    elif key.lstrip("_").startswith("attn_implementation") and not _is_plain(value):
        yield f"names an attention kernel to fetch ({value!r})"
    elif key == "transformer_task" and value != _TASK:
        yield f"names the task {value!r}; accepted: {_TASK!r}"
    elif key == "modality_config":
        yield from _check_modalities(value)
    elif (found := _KEYWORDS.fullmatch(key)) and isinstance(value, dict):
        yield from _check_keywords(found["part"], value)


def _check_modalities(config: Any) -> Iterator[str]:
    """Yield the methods and outputs of the network that a module's configuration may not name."""
    if not (isinstance(config, dict) and all(isinstance(entry, dict) for entry in config.values())):
        yield "has a modality_config that is not an object of objects"
        return
    for entry in config.values():
        method, output = entry.get("method"), entry.get("method_output_name")
        if method != _METHOD:
            yield f"names the method {method!r} of the network; accepted: {_METHOD!r}"
        for name in output if isinstance(output, list) else [output]:
            if name not in _METHOD_OUTPUTS and not isinstance(name, int):
                yield f"names the output {name!r} of the network; accepted: {', '.join(_METHOD_OUTPUTS)}"


def _check_keywords(part: str, keywords: dict[str, Any]) -> Iterator[str]:
    for name, value in keywords.items():
        is_known = name in _MODEL_KEYWORDS if part == "model" else name not in _LOADERS_OWN
        if not is_known:
            yield f"sets {part} keyword {name!r}"
        elif part != "config" and not _is_plain(value):
            yield f"sets {part} keyword {name!r} to {value!r}"


def _is_plain(value: Any) -> bool:
    """Accept a number, a boolean, None, or a word that is neither path nor hub id; also a dict of these."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    return not isinstance(value, list | str) or (isinstance(value, str) and _PLAIN.fullmatch(value) is not None)
