"""Parsing of the command line: any key or group can be swept or fixed, and overrides the preset."""

import pytest

from embsweep.cli.composition.request import parse_request, read_request
from embsweep.config.search_space import Choice, FloatRange, IntRange
from tests.refusals import codes_and_locations, raises_diagnostics


def space_of(loader, *arguments):
    return {d.key: d for d in read_request(loader, list(arguments), "").space}


def test_preset_gives_its_space(loader):
    space = space_of(loader, "+sweep=bgem3")
    assert space["train.learning_rate"] == FloatRange("train.learning_rate", 5e-6, 1e-4, log=True)
    assert space["train.epochs"] == IntRange("train.epochs", 1, 5)
    assert space["matryoshka"] == Choice("matryoshka", ("halving", "from_768", "coarse"))
    assert set(space) == {
        "train.learning_rate", "train.epochs", "train.warmup", "matryoshka", "matryoshka.weight_power", "loss",
    }  # fmt: skip


def test_command_line_sweep_replaces_the_presets(loader):
    space = space_of(loader, "+sweep=bgem3", "train.learning_rate=interval(1e-6,2e-6)", "loss=cached_mnrl,mnrl")
    assert space["train.learning_rate"] == FloatRange("train.learning_rate", 1e-6, 2e-6)
    assert space["loss"] == Choice("loss", ("cached_mnrl", "mnrl"))


@pytest.mark.slow
def test_fixed_value_removes_the_presets_entry_and_holds_in_every_trial(loader):
    request = read_request(loader, ["+sweep=bgem3", "train.learning_rate=3e-5", "loss=cached_mnrl"], "")
    assert {"train.learning_rate", "loss"}.isdisjoint(d.key for d in request.space)
    config = request.configure({"train.epochs": 2})
    assert (config.train.learning_rate, config.loss.name, config.train.epochs) == (3e-5, "cached_mnrl", 2)


def test_key_that_no_preset_sweeps_can_be_swept(loader):
    assert space_of(loader, "+sweep=bgem3", "train.batch_size=16,32")["train.batch_size"].options == ("16", "32")


@pytest.mark.slow
def test_any_group_can_be_swept(loader):
    request = read_request(loader, ["+sweep=bgem3", "eval=rungs,sparse"], "")
    assert request.configure({"eval": "sparse"}).eval.fractions == (0.25, 0.5, 1.0)


def test_glob_sweeps_every_option_of_a_group(loader):
    space = space_of(loader, "+sweep=bgem3", "matryoshka=glob(from_*)")
    assert space["matryoshka"].options == ("from_384", "from_384_coarse", "from_768")


@pytest.mark.slow
def test_lists_can_be_choices(loader):
    request = read_request(loader, ["+sweep=bgem3", "matryoshka=halving", "matryoshka.dims=[1024,512],[768,64]"], "")
    dims = {d.key: d for d in request.space}["matryoshka.dims"]
    assert dims.options == ("[1024,512]", "[768,64]")
    assert request.configure({"matryoshka.dims": dims.options[1]}).matryoshka.dims == (768, 64)


def test_a_trial_gets_exactly_the_number_that_was_drawn(loader):
    request = read_request(loader, ["+sweep=bgem3"], "")
    value = 1.2345678901234567e-05
    assert request.configure({"train.learning_rate": value}).train.learning_rate == value


def test_recipe_in_the_terms_of_the_space(loader):
    recipe = read_request(loader, ["+sweep=bgem3", "train.batch_size=16,32"], "").recipe
    assert recipe == {
        "train.learning_rate": 2e-5,
        "train.epochs": 4,
        "train.warmup": 0.1,
        "matryoshka": "halving",
        "matryoshka.weight_power": 0.0,
        "loss": "mnrl",
        "train.batch_size": "16",
    }


def test_recipe_omits_values_outside_the_space(loader):
    recipe = read_request(loader, ["+sweep=bgem3", "train.learning_rate=interval(1e-6,1e-5)"], "").recipe
    assert "train.learning_rate" not in recipe


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "where", "code"),
    [
        ("train.learning_rate=interval(1e-4,1e-6)", "train.learning_rate", "impossible-range"),
        ("train.learning_rate=interval(1e-4,1e-4)", "train.learning_rate", "impossible-range"),
        ("train.learning_rate=interval(0,inf)", "train.learning_rate", "impossible-range"),
        ("train.learning_rate=tag(log,interval(0.0,1e-4))", "train.learning_rate", "impossible-range"),
        ("train.learning_rate=tag(lg,interval(1e-6,1e-4))", "train.learning_rate", "unknown-option"),
        ("train.epochs=range(3,3)", "train.epochs", "too-few"),
        ("train.epochs=tag(log,range(0,8))", "train.epochs", "impossible-range"),
        ("train.epochs=shuffle(range(1,5))", "train.epochs", "no-effect"),
        ("loss=mnrl,mnrl", "loss", "duplicate-value"),
        ("train.epochs={a:range(1,2)},{a:1}", "train.epochs", "bad-space"),
        ("matryoshka=glob(zz*)", "matryoshka", "empty"),
        ("++hydra.sweeper.params={train.epoch: 'range(1,4)'}", "hydra.sweeper.params.train.epoch", "unknown-key"),
        ("++hydra.sweeper.params={train.epochs: 'range(1'}", "hydra.sweeper.params.train.epochs", "bad-space"),
        ("++hydra.sweeper.params={train.epochs: '3'}", "train.epochs", "bad-space"),
    ],
)
def test_impossible_spaces_are_named(loader, argument, where, code):
    with raises_diagnostics((code, where)):
        read_request(loader, ["+sweep=bgem3", argument], "")


def test_all_diagnostics_of_a_space_at_once(loader):
    with raises_diagnostics(("too-few", "train.epochs"), ("impossible-range", "train.warmup")):
        read_request(loader, ["+sweep=bgem3", "train.epochs=range(3,3)", "train.warmup=interval(1.0,0.0)"], "")


@pytest.mark.slow
def test_nothing_to_search(loader):
    with raises_diagnostics(("nothing-to-search", "hydra.sweeper.params")):
        read_request(loader, ["train.epochs=3"], "")


@pytest.mark.parametrize(
    "argument",
    [
        "search.trials=3,4",
        "data=docstrings,files",
        "data.split.seed=1,2",
        "objective.metric=map@100,ndcg@10",
        "stopping=none,hyperband",
        "runner=local,inline",
        "tracking.experiment=a,b",
        "scale=full,rehearsal",
        "storage.path=a,b",
        "sweep.name=a,b",
        "eval.dims=[64],[32]",
    ],
)
def test_keys_that_all_trials_share_cannot_be_searched(loader, argument):
    request, diagnostics = parse_request(loader, ["+sweep=bgem3", argument], "")
    assert codes_and_locations(diagnostics) == [("not-sweepable", argument.split("=")[0])]
    assert len(request.space) == 6


def test_parse_request_returns_the_valid_dimensions_with_the_diagnostics(loader):
    request, diagnostics = parse_request(loader, ["+sweep=bgem3", "train.epochs=range(3,3)"], "")
    assert codes_and_locations(diagnostics) == [("too-few", "train.epochs")]
    assert {"train.learning_rate", "loss"} < {d.key for d in request.space}
    assert "train.epochs" not in {d.key for d in request.space}


@pytest.mark.parametrize(
    ("argument", "values"),
    [
        ("train.patience=choice(null,1)", (None, 1)),
        ("train.patience=null,1", (None, 1)),
        ("++hydra.sweeper.params={train.patience: 'choice(null, 1)'}", (None, 1)),
        ("++train.patience=1,2", (1, 2)),
        ("train.tf32=choice(true,false,null)", (True, False, None)),
        ("train.warmup='1e-1','2e-1'", (0.1, 0.2)),
        ("train.scheduler='linear','cosine'", ("linear", "cosine")),
        ("matryoshka.weight_power=-1,0.5", (-1.0, 0.5)),
        ("matryoshka.dims='[384,64]','[384,128]'", ((384, 64), (384, 128))),
        ("matryoshka.dims=choice('[384, 64]',[384,128])", ((384, 64), (384, 128))),
        ("model.source='1','2'", ("1", "2")),
    ],
)
def test_options_are_read_as_values_of_their_key(loader, argument, values):
    key = argument.split("=")[0].lstrip("+") if "hydra" not in argument else "train.patience"
    request = read_request(loader, ["+sweep=bgem3", "matryoshka=from_384", argument], "")
    dimension = {d.key: d for d in request.space}[key]
    group, name = key.split(".")
    configs = (request.configure({key: option}) for option in dimension.options)
    assert tuple(getattr(getattr(config, group), name) for config in configs) == values


def test_a_key_of_one_option_can_be_searched_beside_another(loader):
    request = read_request(loader, ["+sweep=bgem3", "loss=mnrl,cached_mnrl", "loss.mini_batch_size=8,16"], "")
    sizes = [
        request.configure({"loss": loss, "loss.mini_batch_size": size}).loss.mini_batch_size
        for loss in ("mnrl", "cached_mnrl")
        for size in ("8", "16")
    ]
    assert sizes == [None, None, 8, 16]
    assert request.space.describe_inactive().keys() == {"loss.mini_batch_size"}
    assert request.recipe["loss.mini_batch_size"] == "8", "trial 0 is the recipe, whichever value it has here"


def test_a_key_that_no_option_uses_is_an_error_and_not_ignored(loader):
    request = read_request(loader, ["+sweep=bgem3", "loss=mnrl", "loss.mini_batch_size=8,16"], "")
    assert not request.space.describe_inactive()
    with raises_diagnostics(("conflict", "loss.mini_batch_size")):
        request.configure({"loss.mini_batch_size": "8"})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("argument", "where", "spelling"),
    [
        ("train.epochs=shuffle(1,2)", "train.epochs", "train.epochs=1,2"),
        ("train.warmup=tag(log,choice(0.1,0.2))", "train.warmup", "train.warmup=0.1,0.2"),
        ("train.warmup=interval(0.2,0.1)", "train.warmup", "train.warmup=interval(0.1,0.2)"),
        ("train.epochs=range(3,4)", "train.epochs", "train.epochs=3"),
        ("+train.epochs=1,2", "train.epochs", "train.epochs=1,2"),
        ("hydra.sweeper.n_trials=20", "hydra.sweeper.n_trials", "search.trials=20"),
        ("hydra/sweeper/sampler=tpe", "hydra/sweeper/sampler", "search=tpe"),
        ("++hydra.sweeper.params.train.epochs='1,2'", "hydra.sweeper.params.train", "train.epochs=1,2"),
        ("++hydra.sweeper.params={train.epochs: [1,2]}", "train.epochs", "choice(1, 2)"),
    ],
)
def test_idioms_that_mean_something_else_here_are_refused_with_the_spelling_that_works(
    loader, argument, where, spelling
):
    _, diagnostics = parse_request(loader, ["+sweep=bgem3", argument], "")
    assert [diagnostic.location for diagnostic in diagnostics] == [where]
    assert spelling in str(diagnostics[0].hint)


@pytest.mark.slow
def test_a_faulty_function_is_not_offered_as_a_text(loader):
    _, diagnostics = parse_request(loader, ["+sweep=bgem3", "train.epochs=choice()"], "")
    assert codes_and_locations(diagnostics) == [("bad-override", "train.epochs")]
    assert "quote" not in str(diagnostics[0].hint)


@pytest.mark.slow
def test_a_single_trial_cannot_be_swept(loader):
    request, diagnostics = parse_request(loader, ["hydra.mode=RUN", "train.epochs=1,2", "train.warmup=0.1"], "")
    assert codes_and_locations(diagnostics) == [("not-sweepable", "train.epochs")]
    assert not request.space
