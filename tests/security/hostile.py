"""Models that would run code: each writes a marker file when it gets its way."""

import json
import pickle
from pathlib import Path


class Payload:
    """A pickle that writes the marker when it is opened."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return Path.write_text, (Path(self.marker), "ran")


def write_pickle(path, marker):
    path.write_bytes(pickle.dumps(Payload(marker)))


def write_module(folder, marker, name="custom_st"):
    """An importable module that writes the marker, with everything that a loader may look for in it."""
    code = f"from pathlib import Path\nPath({str(marker)!r}).write_text('ran')\n"
    (folder / f"{name}.py").write_text(
        code + "class Transformer:\n    @staticmethod\n    def load(*a, **k): ...\n    save = load\n"
    )


def change(path, **values):
    """Set keys of a JSON file, which need not be there."""
    found = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps({**found, **values}))


def name_module(folder, kind):
    """Let the first module of a model be of another class."""
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(modules))


def plant_foreign_module(folder, marker):
    write_module(folder, marker)
    name_module(folder, "custom_st.Transformer")


def plant_module_on_the_path(folder, marker):
    name_module(folder, "embsweep_test_payload.Transformer")


def plant_library_of_the_library(folder, marker):
    name_module(folder, "sentence_transformers.base.model.torch")


def plant_importable_submodule(folder, marker):
    name_module(folder, "sentence_transformers.util.misc.importlib")


def plant_way_out(folder, marker):
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "../elsewhere"
    (folder / "modules.json").write_text(json.dumps(modules))


def plant_auto_map(folder, marker):
    write_module(folder, marker)
    auto_map = {"AutoConfig": "custom_st.Transformer", "AutoModel": "custom_st.Transformer"}
    change(folder / "config.json", auto_map=auto_map, model_type="mine")


def plant_tokenizer(folder, marker):
    write_module(folder, marker)
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["custom_st.Transformer", None]})


def plant_consent(folder, marker):
    write_module(folder, marker)
    change(folder / "sentence_bert_config.json", config_kwargs={"trust_remote_code": True})


def plant_careless_loading(folder, marker):
    """Weights as a pickle, and keywords that ask for a reader without `weights_only`."""
    plant_pickle(folder, marker)
    change(folder / "sentence_bert_config.json", model_kwargs={"weights_only": False, "use_safetensors": False})


def plant_old_careless_loading(folder, marker):
    plant_pickle(folder, marker)
    change(folder / "sentence_bert_config.json", model_args={"weights_only": False})


def plant_kernel(folder, marker):
    change(folder / "config.json", attn_implementation="somebody/kernel")


def plant_activation(folder, marker):
    dense = folder / "2_Dense"
    dense.mkdir()
    change(dense / "config.json", in_features=4, out_features=4, activation_function="torch.hub.load")


def plant_route(folder, marker):
    change(folder / "router_config.json", types={"query_0": "custom_st.Transformer"}, structure={"query": ["query_0"]})


def plant_old_route(folder, marker):
    routes = folder / "r"
    routes.mkdir()
    types = {"query_0": "sentence_transformers.util.misc.importlib"}
    change(routes / "config.json", types=types, structure={"query": ["query_0"]}, parameters={})


def plant_linked_folder(folder, marker):
    """What loaders read and a walk through the model's own folders does not see."""
    empty_cwd = folder.parent / "elsewhere"
    empty_cwd.mkdir()
    change(empty_cwd / "config.json", auto_map={"AutoConfig": "custom_st.Transformer"})
    (folder / "3_Linked").symlink_to(empty_cwd)


def plant_other_tokenizer(folder, marker):
    change(folder / "sentence_bert_config.json", tokenizer_name_or_path="somebody/else")


def plant_adapter(folder, marker):
    change(folder / "adapter_config.json", base_model_name_or_path="somebody/else")


def plant_pickle(folder, marker):
    for path in folder.rglob("*.safetensors"):
        path.unlink()
    write_pickle(folder / "pytorch_model.bin", marker)


def plant_garbage(folder, marker):
    (folder / "config_sentence_transformers.json").write_bytes(b"\xff{")


CODE = {
    name.removeprefix("plant_"): plant
    for name, plant in list(globals().items())
    if name.startswith("plant_") and name != "plant_pickle"
}
"""What is refused for every model."""
EVERYTHING = {**CODE, "pickle": plant_pickle}
"""What is refused besides for a model that a sweep wrote."""
