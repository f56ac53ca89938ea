"""The mini-batch of a cached loss: its search, its independence of the result, and the side effects of the probe."""

import random

import pytest

from embsweep.data.collection import Pair
from embsweep.training.mini_batch import (
    Limits,
    TooLarge,
    choose_fastest,
    find_longest,
    measure_speeds,
    resolve_loss,
    try_sizes,
)

pytestmark = pytest.mark.slow

CACHED = ("loss=cached_mnrl", "matryoshka.dims=[8,4]", "train.batch_size=8")
PAIRS = tuple(Pair(f"w{i}", " ".join(f"w{j}" for j in range(i + 1))) for i in range(12))


@pytest.fixture
def tiny_bert():
    """A BERT of two layers and eight units, with dropout, on words w0 … w15; weights from a fixed seed."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    def build(folder, dropout):
        torch.manual_seed(3)
        words = {f"w{i}": i + 2 for i in range(16)}
        tokenizer = Tokenizer(WordLevel({"[PAD]": 0, "[UNK]": 1, **words}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = WhitespaceSplit()
        config = BertConfig(
            vocab_size=18, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16,
            max_position_embeddings=32, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder)
        fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
        fast.save_pretrained(folder)
        first = Transformer(str(folder))
        return SentenceTransformer(modules=[first, Pooling(8)], device="cpu")

    return build


@pytest.mark.parametrize(
    ("fits", "seconds", "rows", "chosen", "tried"),
    [
        (100, lambda n: 1.0, 64, 64, [8, 16, 32, 64]),  # twice as large at no cost, up to the batch
        (100, lambda n: 1.0, 24, 24, [8, 16, 24]),
        (100, lambda n: 1.0, 5, 5, [5]),
        (100, lambda n: n * (1.0 if n < 32 else 1.5), 64, 16, [8, 16, 32]),  # slower per pair: stop
        (100, lambda n: n * (1.0 if n < 16 else 1.01), 16, 16, [8, 16]),  # nearly equal: the larger
        (20, lambda n: 1.0, 64, 16, [8, 16, 32]),
        (3, lambda n: 1.0, 64, 2, [8, 4, 2]),
        (1, lambda n: 1.0, 64, 1, [8, 4, 2, 1]),
    ],
)
@pytest.mark.parametrize("refusal", [TooLarge(), MemoryError(), RuntimeError("CUDA out of memory")])
def test_doubled_while_it_pays_and_halved_until_it_fits(fits, seconds, rows, chosen, tried, refusal):
    sizes = []

    def measure(size):
        sizes.append(size)
        if size > fits:
            raise refusal
        return seconds(size)

    speeds = try_sizes(measure, Limits(rows))
    assert (choose_fastest(speeds), sizes, list(speeds)) == (chosen, tried, tried)
    assert [size for size in tried if not speeds[size]] == [size for size in tried if size > fits]


def test_if_one_pair_does_not_fit_the_error_is_the_librarys_own():
    def measure(size):
        raise MemoryError(str(size))

    with pytest.raises(MemoryError, match=r"^1$"):
        try_sizes(measure, Limits(64))


def test_any_other_error_is_raised():
    with pytest.raises(ZeroDivisionError):
        try_sizes(lambda size: 1 / 0, Limits(64))


def test_no_further_size_is_measured_after_the_time_limit():
    sizes = []

    def measure(size):
        sizes.append(size)
        return 1.0

    assert list(try_sizes(measure, Limits(64, time_s=0.0))) == [8]
    assert sizes == [8]


def test_the_longest_of_every_column():
    pairs = [Pair("a", "bbb", ("c",)), Pair("aaa", "b", ("d",)), Pair("aa", "bb", ("ccc",))]
    assert find_longest(pairs, 2) == [Pair("aaa", "bbb", ("ccc",)), Pair("aa", "bb", ("c",))]
    assert find_longest(pairs[1:2], 3) == [Pair("aaa", "b", ("d",))] * 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_size_is_measured_and_recorded(make_config, tiny_bert, tmp_path, precision):
    config = make_config(*CACHED, "loss.mini_batch_size=auto").trial
    loss, facts = resolve_loss(config, tiny_bert(tmp_path, 0.1), PAIRS, Limits(8, precision))
    assert loss == config.loss.model_copy(update={"mini_batch_size": 8})
    assert facts["mini_batch_size"] == 8
    assert facts["mini_batch_probe"].startswith("pairs per second by size: 8: ")
    assert facts["mini_batch_probe_s"] < 60


@pytest.mark.parametrize(
    ("overrides", "facts"),
    [
        ((*CACHED, "loss.mini_batch_size=4"), {"mini_batch_size": 4}),
        ((*CACHED, "loss.mini_batch_size=64"), {"mini_batch_size": 8}),
        (("matryoshka.dims=[8]",), {}),
    ],
)
def test_a_configured_size_is_kept(make_config, overrides, facts):
    config = make_config(*overrides).trial
    assert resolve_loss(config, None, (), Limits(8)) == (config.loss, facts)


def test_workers_take_the_smallest_of_their_sizes(make_config, tiny_bert, tmp_path, monkeypatch):
    from embsweep.core import distributed

    class PretendedGroup(distributed.ProcessGroup):
        def gather(self, value):
            return [value, 2]

    monkeypatch.setattr("embsweep.training.mini_batch.current_group", PretendedGroup)
    config = make_config(*CACHED, "loss.mini_batch_size=auto").trial
    loss, facts = resolve_loss(config, tiny_bert(tmp_path, 0.0), PAIRS, Limits(4))
    assert (loss.mini_batch_size, facts["mini_batch_size"]) == (2, 2)


def test_a_probe_has_no_side_effects(make_config, tiny_bert, tmp_path):
    import numpy as np
    import torch

    model = tiny_bert(tmp_path, 0.5)
    model.eval()
    model[1].train()
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    states = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    forward = model.forward
    assert list(measure_speeds(make_config(*CACHED).trial, model, PAIRS, Limits(8))) == [8]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert random.getstate() == states[0]
    assert (np.random.get_state()[1] == states[1]).all()
    assert torch.equal(torch.get_rng_state(), states[2])
    assert model.forward == forward


def test_a_failed_probe_has_no_side_effects(make_config, tiny_bert, tmp_path, monkeypatch):
    import torch

    model = tiny_bert(tmp_path, 0.5)
    model.eval()
    monkeypatch.setattr("embsweep.models.losses.build_loss", lambda *_: 1 / 0)
    before = torch.get_rng_state()
    with pytest.raises(ZeroDivisionError):
        measure_speeds(make_config(*CACHED).trial, model, PAIRS, Limits(8))
    assert not model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_the_size_changes_neither_loss_nor_gradients(make_config, tiny_bert, tmp_path):
    """Without dropout; with it, other sizes draw other masks."""
    import torch

    from embsweep.models.losses import build_loss

    texts = {"anchor": [p.anchor for p in PAIRS[:8]], "positive": [p.positive for p in PAIRS[:8]]}
    results = []
    for size in (None, 1, 2, 3, 8, 64):
        name = "mnrl" if size is None else "cached_mnrl"
        config = make_config(f"loss={name}", "matryoshka.dims=[8,4]", f"loss.mini_batch_size={size or 'null'}").trial
        model = tiny_bert(tmp_path, 0.0)
        model.train()
        loss = build_loss(config.loss, config.matryoshka, model)
        value = loss([model.preprocess(column) for column in texts.values()], None)
        value.backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        results.append((float(value.detach()), grads))
    for value, grads in results[1:]:
        assert value == pytest.approx(results[0][0], abs=1e-5)
        torch.testing.assert_close(grads, results[0][1], rtol=1e-4, atol=1e-5)
    assert results[0][1].abs().max() > 1e-2, "there is something to compare"
