"""Texts are tokenised once for every model of the space; an unavailable model fails only its own trials."""

from types import SimpleNamespace

import pytest

from embsweep.config.search_space import Choice
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.sweep.assets import collect_texts, prepare_assets

pytestmark = pytest.mark.slow  # loads the embedded model


@pytest.fixture
def splits():
    validation = RetrievalSet("held", ("what of the court",), ("the court is closed",), ((0,),))
    return SimpleNamespace(train=(Pair("a question", "an answer"),), validation=validation)


def test_collect_texts_contains_every_text_of_every_split(splits):
    other = SimpleNamespace(train=(Pair("more", "texts", "wrong"),), validation=splits.validation)
    texts = collect_texts((splits, other))
    assert {"a question", "an answer", "more", "texts", "wrong"} <= set(texts.training)
    assert set(texts.queries) == {"what of the court"}
    assert set(texts.documents) == {"the court is closed"}


def test_an_unavailable_model_does_not_end_the_sweep(make_config, splits):
    recipe = make_config("model=minilm", "matryoshka=from_384")
    absent = recipe.model.model_copy(update={"kind": "hub", "name": "absent", "source": "./no-such-folder"})

    def configure(point):
        return recipe.model_copy(update={"model": absent if point.get("model") == "absent" else recipe.model})

    request = SimpleNamespace(space=(Choice("model", ("minilm", "absent")),), configure=configure)
    scale = SimpleNamespace(apply=lambda config: config)
    prepared = SimpleNamespace(recipe=recipe, splits=splits, folds=(), scale=scale)
    assets = prepare_assets(request, prepared)
    assert len(assets.tokens) == 1, "tokens of the available model"
    assert assets.models == (), "no model is shipped on a single machine"
