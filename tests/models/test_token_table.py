"""Batches from a token table, against the model's own tokenizer: equal in every tensor, and nothing left behind."""

import copy
import pickle

import pytest

from embsweep.config.training import ModelConfig
from embsweep.models.registry import build_model
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


def assert_equal(found, expected):
    import torch

    assert list(found) == list(expected), "the keys, in their order"
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
            assert torch.equal(found[name], value)
            assert found[name].is_contiguous()
        else:
            assert found[name] == value


def forbid_tokenizer(model, monkeypatch):
    """From here on a call of the model's tokenizer is an error."""

    def refuse(*_args, **_kwargs):
        raise AssertionError("the tokenizer was asked")

    monkeypatch.setattr(type(model[0].tokenizer), "__call__", refuse, raising=False)
    first = model[0]
    if not hasattr(first, "processor"):
        monkeypatch.setattr(type(first), "preprocess", refuse)


@pytest.mark.slow
@pytest.mark.parametrize("batch", BATCHES)
def test_batches_are_equal_and_the_tokenizer_is_not_asked(model, batch, monkeypatch):
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
        for batch, wanted in zip(BATCHES, expected, strict=True):
            assert_equal(model.preprocess(batch), wanted)


@pytest.mark.nightly
@pytest.mark.parametrize("names", [["input_ids"], ["input_ids", "attention_mask"], ["token_type_ids", "input_ids"]])
def test_only_what_the_tokenizer_names(pristine, names):
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
def test_the_models_own_prompts(model, prompts, monkeypatch):
    model.prompts = {"query": "", "document": "", **prompts} if "query" in prompts else prompts
    model.default_prompt_name = "other" if "other" in prompts else None
    expected = model.encode_query(QUERIES), model.encode_document(DOCUMENTS)
    table = build_token_table(model, TEXTS)
    lookups, find_rows = [], TokenTable.find_rows
    monkeypatch.setattr(TokenTable, "find_rows", lambda *given: lookups.append(find_rows(*given)) or lookups[-1])
    with use_tokens(model, [table]):
        found = model.encode_query(QUERIES), model.encode_document(DOCUMENTS)
    assert (found[0] == expected[0]).all()
    assert (found[1] == expected[1]).all()
    missed = [rows for rows in lookups if rows is None]
    assert len(lookups) - len(missed) == 2, "one batch of each role was looked up"


@pytest.mark.nightly
def test_the_length_of_a_prompt_is_counted_as_ever(pristine):
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
def test_what_is_not_in_the_table_is_tokenized(pristine, batch):
    model = copy.deepcopy(pristine["minilm"])
    expected = model.preprocess(batch)
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        assert_equal(model.preprocess(batch), expected)


@pytest.mark.nightly
def test_a_lone_surrogate_fails_where_it_always_did(model):
    table = build_token_table(model, Texts(training=["\ud800", "sound"]))
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
        for option, wanted in zip(options, expected, strict=True):
            assert_equal(model.preprocess(LONG, **option), wanted)
        assert_equal(model.preprocess(LONG, task="query"), shorter)


@pytest.mark.nightly
def test_a_limit_that_is_changed_inside_is_noticed(pristine):
    model = copy.deepcopy(pristine["minilm"])
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        model.max_seq_length = 9
        assert model.preprocess(LONG)["input_ids"].shape == (3, 9)


@pytest.mark.nightly
def test_without_padding_as_flash_attention_wants_it(pristine, monkeypatch):
    model = copy.deepcopy(pristine["minilm"])
    text = {"truncation": "longest_first", "return_attention_mask": False}
    kinds = {"text": text, "audio": {}, "video": {}, "image": {}}
    expected = model[0]._call_processor("text", {"text": [*ODD, *LONG]}, kinds, {})
    with use_tokens(model, [build_token_table(model, TEXTS)]):
        forbid_tokenizer(model, monkeypatch)
        found = model[0]._call_processor("text", {"text": [*ODD, *LONG]}, kinds, {})
    assert dict(found) == dict(expected)


def files_of(model, folder):
    model.save_pretrained(str(folder), create_model_card=False)
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.nightly
def test_what_is_saved_is_the_same_to_the_last_byte(model, tmp_path):
    with_table = copy.deepcopy(model)
    model.preprocess(LONG)
    with use_tokens(with_table, [build_token_table(with_table, TEXTS)]):
        with_table.preprocess(LONG)
        assert files_of(with_table, tmp_path / "with") == files_of(model, tmp_path / "without")


@pytest.mark.nightly
def test_building_leaves_no_trace_in_the_model(model, tmp_path):
    before = files_of(model, tmp_path / "before")
    assert build_token_table(model, TEXTS) is not None
    assert files_of(model, tmp_path / "after") == before


@pytest.mark.nightly
@pytest.mark.parametrize("copier", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_tokenizes_for_itself(model, copier, monkeypatch):
    table, expected = build_token_table(model, TEXTS), model.preprocess(LONG)
    with use_tokens(model, [table]):
        twin = copier(model)
        monkeypatch.setattr(TokenTable, "find_rows", lambda *_: pytest.fail("a copy has no table"))
        assert_equal(twin.preprocess(LONG), expected)
    assert_equal(twin.preprocess(LONG), expected)


@pytest.mark.nightly
def test_a_pickled_model_carries_no_table(model):
    table = build_token_table(model, Texts(training=[f"{number} text" for number in range(5000)]))
    plain = len(pickle.dumps(model))
    with use_tokens(model, [table]):
        assert len(pickle.dumps(model)) - plain < 1000 < table.size_bytes


@pytest.mark.slow
def test_nothing_stays_after_an_error(model):
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
def test_no_table_is_no_table(pristine):
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


def unusual(model, how):
    if how == "chat":
        model[0].modality_config["message"] = model[0].modality_config["text"]
    elif how == "subclass":
        own = type(model[0].processor)
        model[0].processor.__class__ = type(
            "Own", (own,), {"__call__": lambda self, *texts, **options: own.__call__(self, *texts, **options) or {}}
        )
    elif how == "random":
        from tokenizers.models import BPE

        model[0].processor.backend_tokenizer.model = BPE({"a": 0}, [], dropout=0.1)
    elif how == "padded static":
        model[0].tokenizer.enable_padding()
    return model


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("kind", "how"), [("minilm", "chat"), ("minilm", "subclass"), ("minilm", "random"), ("static", "padded static")]
)
def test_none_where_a_table_cannot_stand_in(pristine, kind, how):
    assert build_token_table(unusual(copy.deepcopy(pristine[kind]), how), TEXTS) is None


@pytest.mark.nightly
def test_a_table_is_arrays_alone(pristine):
    table, buffers = build_token_table(pristine["minilm"], Texts(training=[f"{n} text" for n in range(5000)])), []
    rest = pickle.dumps(table, protocol=5, buffer_callback=buffers.append)
    assert len(rest) < 2000, "all of it can be shared between processes"
    assert sum(memoryview(buffer).nbytes for buffer in buffers) == table.size_bytes


@pytest.mark.nightly
def test_a_shared_table_that_cannot_be_written(pristine):
    model = copy.deepcopy(pristine["minilm"])
    table, expected = build_token_table(model, TEXTS), model.preprocess(LONG)
    for array in (table.keys, table.offsets, table.ids, table.types):
        array.setflags(write=False)
    with use_tokens(model, [table]):
        found = model.preprocess(LONG)
    found["input_ids"].zero_()
    with use_tokens(model, [table]):
        assert_equal(model.preprocess(LONG), expected)


@pytest.mark.nightly
def test_training_gives_the_same_weights(pristine, tmp_path):
    """The trainer's own collator, over shuffled batches: equal losses and equal weights afterwards."""
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
