"""A model is trained with the prompts that it is evaluated with: the inputs are compared token by token."""

import pytest

from embsweep.cli.paths import conf_dir
from embsweep.config.model import ModelConfig, Prompts
from embsweep.data.collection import Pair
from tests.models.twins import make_twin, save_transformer, write_prompts

NO_TWIN = ("bge-m3", "minilm", "minilm-3-layers", "static")
PRESETS = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml") if path.stem not in NO_TWIN)
PUBLISHED = {
    "multilingual-e5-small": ("mean", "query: ", "passage: "),
    "multilingual-e5-base": ("mean", "query: ", "passage: "),
    "multilingual-e5-large": ("mean", "query: ", "passage: "),
    "multilingual-e5-large-instruct": ("mean", "Instruct: find rivers\nQuery: ", ""),
    "arctic-embed-l-v2.0": ("cls", "query: ", ""),
    "gte-multilingual-base": ("cls", "", ""),
    "qwen3-embedding-0.6b": ("lasttoken", "Instruct: find passages about rivers\nQuery:", ""),
    "embeddinggemma-300m": ("mean", "task: search result | query: ", "title: none | text: "),
    "paraphrase-multilingual-mpnet-base-v2": ("mean", "", ""),
    "potion-multilingual-128m": (None, "", ""),
}
PAIRS = [
    Pair("river", "engine court text", ("court", "engine")),
    Pair("engine river title", "river river river", ("title text", "text")),
    Pair("court", "engine " * 80, ("river", "title river")),  # longer than any limit
]
TEXTS = {
    "anchor": [pair.anchor for pair in PAIRS],
    "positive": [pair.positive for pair in PAIRS],
    "negative_1": [pair.negatives[0] for pair in PAIRS],
    "negative_2": [pair.negatives[1] for pair in PAIRS],
}
"""Texts by column; those of queries are in `anchor`."""


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """Return `twin(preset)`, which saves the preset's twin once."""
    folders = {}

    def make(preset, dim):
        if preset not in folders:
            folders[preset] = make_twin(preset, dim, tmp_path_factory.mktemp("twin"))
        return folders[preset]

    return make


@pytest.fixture
def config(make_config):
    """Return the configuration of a trial on a model in a folder: config(folder, "train.epochs=1", model="minilm")."""

    def make(folder, *overrides, model, **changes):
        composed = make_config(f"model={model}", "train.batch_size=3", "train.batch_sampler=batch_sampler", *overrides)
        updated = composed.model.model_copy(update={"source": str(folder), "kind": "hub", **changes})
        return composed.trial.model_copy(update={"model": ModelConfig.model_validate(updated.model_dump())})

    return make


def training_inputs(config, model, tmp_path):
    """Return the token ids of every text by column, as the trainer collates them."""
    from embsweep.models.losses import build_loss
    from embsweep.training.hardware import HardwareSettings
    from embsweep.training.messages import TrialSpec
    from embsweep.training.trainer import build_trainer

    job = TrialSpec(number=0, attempt=1, config=config, folder=str(tmp_path))
    loss = build_loss(config.loss, config.matryoshka, model)
    trainer = build_trainer(job, model, loss, PAIRS, HardwareSettings())
    (batch,) = trainer.get_train_dataloader()
    return {
        name: sorted(read_rows({key.removeprefix(f"{name}_"): value for key, value in batch.items() if name in key}))
        for name in TEXTS
    }, {name: batch.get(f"{name}_prompt_length") for name in TEXTS}


def evaluation_inputs(model, texts, role):
    """Return the token ids of every text, as an evaluation encodes it, and the passed lengths of prompts."""
    from embsweep.evaluation.evaluator import encode_texts

    rows, lengths = [], []

    def record(_module, given):
        rows.extend(read_rows(given[0]))
        lengths.append(given[0].get("prompt_length"))

    hook = model[0].register_forward_pre_hook(record)
    encode_texts(model, texts, role, batch_size=2)
    hook.remove()
    return sorted(rows), set(lengths)


def read_rows(features):
    ids = features["input_ids"].tolist()
    if "offsets" in features:
        ends = [*features["offsets"].tolist()[1:], len(ids)]
        return [tuple(ids[start:end]) for start, end in zip(features["offsets"].tolist(), ends, strict=True)]
    masks = features["attention_mask"].tolist()
    return [tuple(i for i, m in zip(row, mask, strict=True) if m) for row, mask in zip(ids, masks, strict=True)]


def require_equal_inputs(config, model, tmp_path):
    """Check every column against the evaluation; return the training inputs."""
    trained, lengths = training_inputs(config, model, tmp_path)
    for column, texts in TEXTS.items():
        evaluated, passed = evaluation_inputs(model, texts, "query" if column == "anchor" else "document")
        assert trained[column] == evaluated
        assert {None if lengths[column] is None else int(lengths[column])} == passed
    return trained


def test_every_preset_has_a_twin():
    assert set(PUBLISHED) == set(PRESETS)


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_used_as_it_was_published(preset, twin, config, make_config, tmp_path):
    from sentence_transformers.sentence_transformer.modules import Pooling

    from embsweep.models.builders import build_model, check_model
    from embsweep.models.usage import inspect_usage

    pooling, query, document = PUBLISHED[preset]
    task = ["model.task=find rivers"] if preset.endswith("instruct") else []
    folder = twin(preset, make_config(f"model={preset}", "model.task=x").model.dim)
    job = config(folder, *task, model=preset)
    assert check_model(job.model) == []
    model = build_model(job.model, "cpu")
    assert [module.pooling_mode for module in model if isinstance(module, Pooling)] == [pooling] * bool(pooling)
    assert (model.prompts["query"], model.prompts["document"]) == (query, document)
    usage = inspect_usage(job.model)
    assert (usage.pooling, usage.prompts.texts) == (pooling, Prompts(query=query, document=document))
    small = {"matryoshka": job.matryoshka.model_copy(update={"dims": (16,), "weights": None})}
    trained = require_equal_inputs(job.model_copy(update=small), model, tmp_path)
    assert max(map(len, trained["positive"])) == (80 if pooling is None else 64)


@pytest.mark.slow
def test_prompts_that_pooling_excludes_are_excluded_in_training_too(twin, config, tmp_path):
    from embsweep.models.builders import build_model

    job = config(twin("arctic-embed-l-v2.0", 1024), model="arctic-embed-l-v2.0")
    model = build_model(job.model, "cpu")
    model.set_pooling_include_prompt(False)
    require_equal_inputs(job, model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("length", [3, 8])
def test_prompts_count_against_the_limit(twin, config, tmp_path, length):
    from embsweep.models.builders import build_model

    job = config(twin("multilingual-e5-small", 384), model="multilingual-e5-small", max_seq_length=length)
    job = job.model_copy(update={"matryoshka": job.matryoshka.model_copy(update={"dims": (384,)})})
    trained = require_equal_inputs(job, build_model(job.model, "cpu"), tmp_path)
    assert all(len(row) <= length for rows in trained.values() for row in rows)


@pytest.mark.slow
def test_a_saved_model_has_the_prompts_that_it_was_trained_with(twin, config, tmp_path):
    """`passage` alone is not read by sentence-transformers, which has an empty `document` by default."""
    import shutil

    from sentence_transformers import SentenceTransformer

    from embsweep.models.builders import build_model
    from embsweep.training.checkpoint import load_checkpoint, save_checkpoint

    folder = tmp_path / "model"
    shutil.copytree(twin("multilingual-e5-small", 384), folder)
    write_prompts(folder, {"query": "query: ", "passage": "passage: ", "sts": "text: "})
    assert SentenceTransformer(str(folder), device="cpu").prompts["document"] == ""
    model = build_model(config(folder, model="minilm").model, "cpu")
    saved = load_checkpoint(save_checkpoint(model, tmp_path / "saved"), "cpu")
    expected = {"query": "query: ", "document": "passage: ", "passage": "passage: ", "sts": "text: "}
    assert saved.prompts == model.prompts == expected
    none = build_model(config(folder, model="minilm", prompts=None).model, "cpu")
    assert none.prompts == {"query": "", "document": ""}
    assert (none.encode_document("river") == model.encode("river", prompt="")).all()


@pytest.mark.slow
def test_the_given_pooling_replaces_the_assumed_one(config, tmp_path):
    from embsweep.models.builders import build_model

    folder = save_transformer("multilingual-e5-small", 384, tmp_path / "bare")
    model = build_model(config(folder, model="minilm", pooling="cls").model, "cpu")
    assert model[1].pooling_mode == "cls"
    hidden = model[0](model.preprocess(["river engine"]))["token_embeddings"][0, 0]
    assert model.encode("river engine") == pytest.approx(hidden.detach().numpy(), abs=1e-6)


@pytest.mark.slow
def test_the_probe_of_a_cached_loss_sees_the_prompts(twin, config):
    from embsweep.models.builders import build_model
    from embsweep.training.mini_batch import _preprocess, to_columns

    model = build_model(config(twin("multilingual-e5-small", 384), model="multilingual-e5-small").model, "cpu")
    found = [sorted(read_rows(features)) for features in _preprocess(model, to_columns(PAIRS))]
    assert found == [
        evaluation_inputs(model, texts, "query" if column == "anchor" else "document")[0]
        for column, texts in TEXTS.items()
    ]
