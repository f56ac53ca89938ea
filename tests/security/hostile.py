"""Hostile models: each writes a marker file if its code runs."""

import json
import pickle
from pathlib import Path


class Payload:
    """Object whose pickle writes the marker when loaded."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return Path.write_text, (Path(self.marker), "ran")


def write_pickle(path, marker):
    path.write_bytes(pickle.dumps(Payload(marker)))


def write_module(folder, marker, name="custom_st"):
    """Write an importable module that writes the marker and has the attributes that a loader uses."""
    code = f"from pathlib import Path\nPath({str(marker)!r}).write_text('ran')\n"
    (folder / f"{name}.py").write_text(
        code + "class Transformer:\n    @staticmethod\n    def load(*a, **k): ...\n    save = load\n"
    )


def change(path, **values):
    """Set keys of a JSON file, which is created if absent."""
    present = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**present, **values}))


def name_module(folder, kind):
    """Change the class of a model's first module."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules))


def plant_foreign_module(folder, marker):
    write_module(folder, marker)
    name_module(folder, "custom_st.Transformer")


def plant_module_on_sys_path(folder, marker):
    name_module(folder, "embsweep_test_payload.Transformer")


def plant_module_of_a_dependency(folder, marker):
    name_module(folder, "sentence_transformers.base.model.torch")


def plant_importable_submodule(folder, marker):
    name_module(folder, "sentence_transformers.util.misc.importlib")


def plant_path_outside(folder, marker):
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "../outside"
    (folder / "modules.json").write_text(json.dumps(modules))


def plant_auto_map(folder, marker):
    write_module(folder, marker)
    auto_map = {"AutoConfig": "custom_st.Transformer", "AutoModel": "custom_st.Transformer"}
    change(folder / "config.json", auto_map=auto_map, model_type="mine")


def plant_tokenizer(folder, marker):
    write_module(folder, marker)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["custom_st.Transformer", None]})


def plant_trust_remote_code(folder, marker):
    write_module(folder, marker)
    change(folder / "sentence_bert_config.json", config_kwargs={"trust_remote_code": True})


def plant_unsafe_loading(folder, marker):
    """Store the weights as a pickle, with keywords that load it without `weights_only`."""
    plant_pickle(folder, marker)
    change(folder / "sentence_bert_config.json", model_kwargs={"weights_only": False, "use_safetensors": False})


def plant_old_unsafe_loading(folder, marker):
    plant_pickle(folder, marker)
    change(folder / "sentence_bert_config.json", model_args={"weights_only": False})


def plant_kernel(folder, marker):
    change(folder / "config.json", attn_implementation="owner/kernel")


def plant_activation(folder, marker):
    dense = folder / "2_Dense"
    dense.mkdir()
    change(dense / "config.json", in_features=4, out_features=4, activation_function="torch.hub.load")


def plant_router(folder, marker):
    change(folder / "router_config.json", types={"query_0": "custom_st.Transformer"}, structure={"query": ["query_0"]})


def plant_old_router(folder, marker):
    routes = folder / "r"
    routes.mkdir()
    types = {"query_0": "sentence_transformers.util.misc.importlib"}
    change(routes / "config.json", types=types, structure={"query": ["query_0"]}, parameters={})


def plant_linked_folder(folder, marker):
    """Add a symlinked folder, which loaders read but a walk through the model's folder does not enter."""
    outside = folder.parent / "outside"
    outside.mkdir()
    change(outside / "config.json", auto_map={"AutoConfig": "custom_st.Transformer"})
    (folder / "3_Linked").symlink_to(outside)


def plant_other_tokenizer(folder, marker):
    change(folder / "sentence_bert_config.json", tokenizer_name_or_path="owner/other")


def name_shard(folder, shard, index="model.safetensors.index.json"):
    """Store the weights in `shard`, named by an index."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / shard)
    index_of = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(tensors, str(shard))}
    (folder / index).write_text(json.dumps(index_of))


def plant_shard_outside(folder, marker):
    name_shard(folder, "../outside.safetensors")


def plant_shard_at_a_path(folder, marker):
    name_shard(folder, folder.parent / "outside.safetensors")


def plant_shard_of_another_kind(folder, marker):
    """Name a pickle whose suffix does not show it."""
    name_shard(folder, "shard.txt")
    write_pickle(folder / "shard.txt", marker)


def plant_method(folder, marker):
    text = {"method": "save_pretrained", "method_output_name": "last_hidden_state"}
    change(folder / "sentence_bert_config.json", modality_config={"text": text})


def plant_output(folder, marker):
    text = {"method": "forward", "method_output_name": ["last_hidden_state", "__class__", "__init__", "__globals__"]}
    change(folder / "sentence_bert_config.json", modality_config={"text": text})


def plant_task(folder, marker):
    """Let `architectures` name anything in transformers."""
    change(folder / "sentence_bert_config.json", transformer_task="retrieval")
    change(folder / "config.json", architectures=["pipeline"])


def plant_quantization(folder, marker):
    change(
        folder / "config.json", quantization_config={"quant_method": "torchao", "quant_type": {"_type": "os.system"}}
    )


def plant_adapter(folder, marker):
    change(folder / "adapter_config.json", base_model_name_or_path="owner/other")


def plant_pickle(folder, marker):
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    write_pickle(folder / "pytorch_model.bin", marker)


def plant_garbage(folder, marker):
    (folder / "config_sentence_transformers.json").write_bytes(b"\xff{")


CODE_ATTACKS = {
    name.removeprefix("plant_"): plant
    for name, plant in list(globals().items())
    if name.startswith("plant_") and name != "plant_pickle"
}
"""Attacks that are refused for every model."""
ALL_ATTACKS = {**CODE_ATTACKS, "pickle": plant_pickle}
"""Attacks that are refused for a model that a sweep wrote: a pickle too."""
