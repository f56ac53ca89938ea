"""Batches from a token table: every tensor equals the tokenizer's, and the model is unchanged afterwards."""

import copy
import pickle

import pytest

from embsweep.config.training import ModelConfig
from embsweep.models.builders import build_model
from embsweep.models.token_lookup import use_tokens
from embsweep.models.token_table import Texts, TokenTable, build_token_table, compute_fingerprint

ODD = [
    "",
    " ",
    "Ünïted  STATES",
    "e\u0301 \ufeff\u200b\u00ad",
    "𝔘𝔫𝔦 👩‍👩‍👧 \x00\x07",
    "[CLS] a [SEP] [PAD]",
    "§ 12 Abs. 3",
    "法律\n文",
]
LONG = ["a house by the river " * 60, "tax " * 300, "w" * 500]
QUERIES, DOCUMENTS = ["who pays?", "who pays rent?"], ["the tenant pays", "the owner " * 90]
TEXTS = Texts(training=ODD + LONG, queries=QUERIES, documents=DOCUMENTS)
BATCHES = [ODD, LONG, [""], ["", ""], [" "], ODD[::-1] + LONG, [LONG[0], LONG[0]]]


def config(kind="minilm", max_seq_length=64):
    return ModelConfig(name=kind, kind=kind, dim=384, max_seq_length=max_seq_length)


@pytest.fixture(scope="module")
def pristine():
    return {kind: build_model(config(kind), "cpu") for kind in ("minilm", "static")}


@pytest.fixture(params=["minilm", "static"])
def model(request, pristine):
    return copy.deepcopy(pristine[request.param])


def assert_equal(batch, expected):
    import torch

    assert list(batch) == list(expected), "the keys and their order"
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert (batch[name].dtype, batch[name].shape) == (value.dtype, value.shape)
            assert torch.equal(batch[name], value)
            assert batch[name].is_contiguous()
        else:
            assert batch[name] == value


def forbid_tokenizer(model, monkeypatch):
    """Make every later call of the model's tokenizer an error."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the tokenizer was called")

    monkeypatch.setattr(type(model[0].tokenizer), "__call__", refuse, raising=False)
    first = model[0]
    if not hasattr(first, "processor"):
        monkeypatch.setattr(type(first), "preprocess", refuse)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
def test_batches_are_equal_and_the_tokenizer_is_not_called(model, batch, monkeypatch):
    expected = model.preprocess(batch)
    table = build_token_table(model, TEXTS)
    with monkeypatch.context() as patch, use_tokens(model, [table]) as is_used:
        forbid_tokenizer(model, patch)
        assert is_used
        assert_equal(model.preprocess(batch), expected)
    assert_equal(model.preprocess(batch), expected)


@pytest.mark.nightly
@pytest.mark.parametrize("settings", [{"padding_side": "left"}, {"truncation_side": "left"}, {"model_max_length": 7}])
def test_sides_and_limits(pristine, settings):
    model = copy.deepcopy(pristine["minilm"])
    for name, value in settings.items():
        setattr(model.tokenizer, name, value)
    expected = [model.preprocess(batch) for batch in BATCHES]
    with use_tokens(model, [build_token_table(model, TEXTS)]) as is_used:
        assert is_used
        for batch, tokens in zip(BATCHES, expected, strict=True):
            assert_equal(model.preprocess(batch), tokens)


@pytest.mark.nightly
@pytest.mark.parametrize("names", [["input_ids"], ["input_ids", "attention_mask"], ["token_type_ids", "input_ids"]])
def test_only_the_inputs_that_the_tokenizer_names(pristine, names):
    model = copy.deepcopy(pristine["minilm"])
    model.tokenizer.model_input_names = names
    expected = model.preprocess(ODD)
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        assert_equal(model.preprocess(ODD), expected)


@pytest.mark.nightly
def test_type_ids_and_their_padding_come_from_the_tokenizer(pristine):
    from tokenizers.processors import TemplateProcessing

    model = copy.deepcopy(pristine["minilm"])
    special = [("[CLS]", 101), ("[SEP]", 102)]
    model.tokenizer.backend_tokenizer.post_processor = TemplateProcessing("[CLS]:2 $A:0 [SEP]:2", "$A $B", special)
    model.tokenizer._pad_token_type_id = 3
    expected = model.preprocess(ODD)
    assert set(expected["token_type_ids"].flatten().tolist()) == {0, 2, 3}
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        assert_equal(model.preprocess(ODD), expected)


@pytest.mark.nightly
@pytest.mark.parametrize("prompts", [{"query": "Query: ", "passage": "Text: "}, {"other": "Say: "}, {"query": ""}])
def test_prompts_of_the_model(model, prompts, monkeypatch):
    model.prompts = {"query": "", "document": "", **prompts} if "query" in prompts else prompts
    model.default_prompt_name = "other" if "other" in prompts else None
    expected = model.encode_query(QUERIES), model.encode_document(DOCUMENTS)
    table = build_token_table(model, TEXTS)
    lookups, find_rows = [], TokenTable.find_rows
    monkeypatch.setattr(TokenTable, "find_rows", lambda *args: lookups.append(find_rows(*args)) or lookups[-1])
    with use_tokens(model, [table]):
        embeddings = model.encode_query(QUERIES), model.encode_document(DOCUMENTS)
    assert (embeddings[0] == expected[0]).all()
    assert (embeddings[1] == expected[1]).all()
    missed = [rows for rows in lookups if rows is None]
    assert len(lookups) - len(missed) == 2, "one batch of each role was looked up"


@pytest.mark.nightly
def test_the_length_of_a_prompt_is_unchanged(pristine):
    model = copy.deepcopy(pristine["minilm"])
    expected = model.preprocess(QUERIES, prompt="Query: ")
    assert "prompt_length" in expected
    model = copy.deepcopy(pristine["minilm"])
    table = build_token_table(model, Texts(training=["Query: " + text for text in QUERIES]))
    with use_tokens(model, [table]):
        assert_equal(model.preprocess(QUERIES, prompt="Query: "), expected)


@pytest.mark.nightly
@pytest.mark.parametrize(
    "batch", [["not in the table"], [ODD[2], "not in the table"], [("a", "pair"), ("of", "texts")]]
)
def test_texts_that_are_not_in_the_table_are_tokenized(pristine, batch):
    model = copy.deepcopy(pristine["minilm"])
    expected = model.preprocess(batch)
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        assert_equal(model.preprocess(batch), expected)


@pytest.mark.nightly
def test_a_lone_surrogate_fails_in_the_tokenizer_as_without_a_table(model):
    table = build_token_table(model, Texts(training=["\ud800", "valid"]))
    assert len(table.keys) == 1
    with use_tokens(model, [table]), pytest.raises((UnicodeEncodeError, TypeError)):
        model.preprocess(["\ud800"])


@pytest.mark.nightly
def test_per_call_settings_are_left_to_the_tokenizer(pristine):
    model = copy.deepcopy(pristine["minilm"])
    options = [{"max_length": 5}, {"processing_kwargs": {"text": {"padding": "max_length"}}}]
    expected = [model.preprocess(LONG, **option) for option in options]
    model[0].query_length = 6
    shorter = model.preprocess(LONG, task="query")
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        for option, tokens in zip(options, expected, strict=True):
            assert_equal(model.preprocess(LONG, **option), tokens)
        assert_equal(model.preprocess(LONG, task="query"), shorter)


@pytest.mark.nightly
def test_a_limit_changed_while_the_table_is_used_applies(pristine):
    model = copy.deepcopy(pristine["minilm"])
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        model.max_seq_length = 9
        assert model.preprocess(LONG)["input_ids"].shape == (3, 9)


@pytest.mark.nightly
def test_without_padding_as_flash_attention_requires(pristine, monkeypatch):
    model = copy.deepcopy(pristine["minilm"])
    text = {"truncation": "longest_first", "return_attention_mask": False}
    kinds = {"text": text, "audio": {}, "video": {}, "image": {}}
    expected = model[0]._call_processor("text", {"text": [*ODD, *LONG]}, kinds, {})
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        forbid_tokenizer(model, monkeypatch)
        batch = model[0]._call_processor("text", {"text": [*ODD, *LONG]}, kinds, {})
    assert dict(batch) == dict(expected)


def files_of(model, folder):
    model.save_pretrained(str(folder), create_model_card=False)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.nightly
def test_saved_files_are_identical(model, tmp_path):
    with_table = copy.deepcopy(model)
    model.preprocess(LONG)
    with use_tokens(with_table, [build_token_table(with_table, TEXTS)]):
        with_table.preprocess(LONG)
        assert files_of(with_table, tmp_path / "with") == files_of(model, tmp_path / "without")


@pytest.mark.nightly
def test_building_a_table_does_not_change_the_model(model, tmp_path):
    before = files_of(model, tmp_path / "before")
    assert build_token_table(model, TEXTS) is not None
    assert files_of(model, tmp_path / "after") == before


@pytest.mark.nightly
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copied_model_uses_its_tokenizer(model, copier, monkeypatch):
    table, expected = build_token_table(model, TEXTS), model.preprocess(LONG)
    with use_tokens(model, [table]):
        twin = copier(model)
        monkeypatch.setattr(TokenTable, "find_rows", lambda *_: pytest.fail("a copy has no table"))
        assert_equal(twin.preprocess(LONG), expected)
    assert_equal(twin.preprocess(LONG), expected)


@pytest.mark.nightly
def test_a_pickled_model_contains_no_table(model):
    table = build_token_table(model, Texts(training=[f"{number} text" for number in range(5000)]))
    plain = len(pickle.dumps(model))
    with use_tokens(model, [table]):
        assert len(pickle.dumps(model)) - plain < 1000 < table.size_bytes


@pytest.mark.slow
def test_the_model_is_restored_after_an_error(model):
    before = dict(model[0].__dict__)
    with pytest.raises(RuntimeError), use_tokens(model, [build_token_table(model, TEXTS)]):
        raise RuntimeError
    assert dict(model[0].__dict__) == before


@pytest.mark.nightly
def test_a_table_of_another_tokenizer_or_limit_is_not_used(pristine):
    tables = [build_token_table(pristine["static"], TEXTS)]
    for limit in (63, 65):
        tables.append(build_token_table(build_model(config(max_seq_length=limit), "cpu"), TEXTS))
    with use_tokens(pristine["minilm"], tables) as is_used:
        assert not is_used
    tables.append(build_token_table(pristine["minilm"], TEXTS))
    with use_tokens(pristine["minilm"], tables) as is_used:
        assert is_used


@pytest.mark.nightly
def test_without_tables_and_with_an_empty_table(pristine):
    with use_tokens(pristine["minilm"], []) as is_used:
        assert not is_used
    with use_tokens(pristine["minilm"], [build_token_table(pristine["minilm"], Texts())]) as is_used:
        assert is_used
        assert_equal(pristine["minilm"].preprocess(ODD), copy.deepcopy(pristine["minilm"]).preprocess(ODD))


@pytest.mark.nightly
def test_the_fingerprint_does_not_depend_on_the_last_call(pristine):
    model = copy.deepcopy(pristine["minilm"])
    before = compute_fingerprint(model)
    model.preprocess(LONG)
    assert compute_fingerprint(model) == before
    model.tokenizer.add_tokens(["newword"])
    assert compute_fingerprint(model) != before


def make_unusual(model, feature):
    if feature == "chat":
        model[0].modality_config["message"] = model[0].modality_config["text"]
    elif feature == "subclass":
        own = type(model[0].processor)
        model[0].processor.__class__ = type(
            "Own", (own,), {"__call__": lambda self, *texts, **options: own.__call__(self, *texts, **options) or {}}
        )
    elif feature == "random":
        from tokenizers.models import BPE

        model[0].processor.backend_tokenizer.model = BPE({"a": 0}, [], dropout=0.1)
    elif feature == "padded static":
        model[0].tokenizer.enable_padding()
    return model


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "feature"), [("minilm", "chat"), ("minilm", "subclass"), ("minilm", "random"), ("static", "padded static")]
)
def test_no_table_for_a_tokenizer_that_it_cannot_replace(pristine, kind, feature):
    assert build_token_table(make_unusual(copy.deepcopy(pristine[kind]), feature), TEXTS) is None


@pytest.mark.nightly
def test_a_table_consists_of_arrays(pristine):
    table, buffers = build_token_table(pristine["minilm"], Texts(training=[f"{n} text" for n in range(5000)])), []
    rest = pickle.dumps(table, protocol=5, buffer_callback=buffers.append)
    assert len(rest) < 2000, "nearly all bytes can be shared between processes"
    assert sum(memoryview(buffer).nbytes for buffer in buffers) == table.size_bytes


@pytest.mark.nightly
def test_a_read_only_shared_table(pristine):
    model = copy.deepcopy(pristine["minilm"])
    table, expected = build_token_table(model, TEXTS), model.preprocess(LONG)
    for array in (table.keys, table.offsets, table.ids, table.types):
        array.setflags(write=False)
    with use_tokens(model, [table]):
        batch = model.preprocess(LONG)
    batch["input_ids"].zero_()
    with use_tokens(model, [table]):
        assert_equal(model.preprocess(LONG), expected)


@pytest.mark.nightly
def test_training_gives_the_same_weights(pristine, tmp_path):
    """Train with the trainer's collator over shuffled batches: losses and final weights are equal."""
    import torch
    from datasets import Dataset
    from sentence_transformers import SentenceTransformerTrainer, SentenceTransformerTrainingArguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    anchors, positives = [f"who owns {n}?" for n in range(24)], [f"the owner of {n} " * (n + 1) for n in range(24)]

    def train(model, name):
        arguments = SentenceTransformerTrainingArguments(
            output_dir=str(tmp_path / name),
            per_device_train_batch_size=8,
            num_train_epochs=1,
            seed=3,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
            logging_strategy="no",
        )
        data = Dataset.from_dict({"anchor": anchors, "positive": positives})
        loss = MultipleNegativesRankingLoss(model)
        return (
            SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=loss).train().training_loss
        )

    plain, looked_up = copy.deepcopy(pristine["static"]), copy.deepcopy(pristine["static"])
    expected = train(plain, "without")
    with use_tokens(looked_up, [build_token_table(looked_up, Texts(training=anchors + positives))]):
        assert train(looked_up, "with") == expected
    assert torch.equal(plain[0].embedding.weight, looked_up[0].embedding.weight)
    assert not torch.equal(plain[0].embedding.weight, pristine["static"][0].embedding.weight)
