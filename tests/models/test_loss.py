"""Weights of the Matryoshka dimensions and the losses built from the configuration."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.refusals import raises_diagnostics

from embsweep.config.training import LossConfig, MatryoshkaConfig
from embsweep.models.losses import LOSSES, build_loss, compute_dim_weights

_DIMS = st.lists(st.integers(1, 2048), min_size=1, max_size=8, unique=True).map(lambda d: sorted(d, reverse=True))
_POWERS = st.floats(-4, 4)


def _weights(dims, power=0.0):
    return compute_dim_weights(MatryoshkaConfig(dims=dims, weight_power=power))


@given(_DIMS, _POWERS)
def test_mean_is_one_and_all_are_positive(dims, power):
    weights = _weights(dims, power)
    assert len(weights) == len(dims)
    assert sum(weights) / len(weights) == pytest.approx(1)
    assert min(weights) > 0


@given(_DIMS, _POWERS)
def test_ratios_are_powers_of_the_dims(dims, power):
    weights = _weights(dims, power)
    for weight, dim in zip(weights, dims, strict=True):
        assert weight / weights[0] == pytest.approx((dim / dims[0]) ** power)


@given(_DIMS, _POWERS, st.integers(2, 5))
def test_the_scale_of_the_dims_does_not_matter(dims, power, factor):
    assert _weights([dim * factor for dim in dims], power) == pytest.approx(_weights(dims, power))


@pytest.mark.slow
@given(_DIMS.filter(lambda dims: len(dims) > 1), _POWERS, st.floats(0.01, 1))
def test_a_higher_power_favours_the_largest_dim(dims, power, step):
    if power + step <= 4:
        assert _weights(dims, power + step)[0] > _weights(dims, power)[0]


def test_weights_computed_by_hand():
    assert _weights([4, 2, 1]) == (1, 1, 1)
    assert _weights([4, 2], 1.0) == pytest.approx((4 / 3, 2 / 3))


def test_explicit_weights_are_used_as_they_are():
    assert compute_dim_weights(MatryoshkaConfig(dims=[4, 2], weights=[3.0, 0.0])) == (3.0, 0.0)


@pytest.fixture(scope="module")
def tiny_model():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import BoW

    return SentenceTransformer(modules=[BoW(list("abcdefgh"))], device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "name"),
    [
        (LossConfig(name="mnrl", scale=7.0), "MultipleNegativesRankingLoss"),
        (LossConfig(name="cached_mnrl", scale=7.0, mini_batch_size=3), "CachedMultipleNegativesRankingLoss"),
    ],
)
def test_a_loss_matches_its_configuration(tiny_model, config, name):
    loss = build_loss(config, MatryoshkaConfig(dims=[8, 2], weight_power=1.0), tiny_model)
    assert type(loss).__name__ == "MatryoshkaLoss"
    assert type(loss.loss).__name__ == name
    assert loss.loss.scale == 7.0
    assert getattr(loss.loss, "mini_batch_size", None) == config.mini_batch_size
    assert list(loss.matryoshka_dims) == [8, 2]
    assert list(loss.matryoshka_weights) == pytest.approx([8 / 5, 2 / 5])
    assert loss.n_dims_per_step == -1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnrl", "cached_mnrl"])
@pytest.mark.parametrize("is_shared", [False, True])
def test_workers_share_their_negatives(tiny_model, name, is_shared):
    config = LossConfig(name=name, mini_batch_size=3 if name == "cached_mnrl" else None)
    loss = build_loss(config, MatryoshkaConfig(dims=[8]), tiny_model, is_shared=is_shared)
    assert loss.loss.gather_across_devices is is_shared


@pytest.mark.slow
def test_the_cached_loss_cannot_train_a_static_model():
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    static = SentenceTransformer(modules=[StaticEmbedding(Tokenizer(WordLevel({"a": 0})), embedding_dim=8)])
    with raises_diagnostics(("conflict", "loss.name")):
        build_loss(LossConfig(name="cached_mnrl", mini_batch_size=3), MatryoshkaConfig(dims=[8]), static)


def test_the_registry_has_every_configured_name():
    assert set(LOSSES) == set(LossConfig.model_fields["name"].annotation.__args__)
