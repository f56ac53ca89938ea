"""What mattered: Optuna's figures, known effects, trials at any rung, and when nothing is said."""

import numpy as np
import pytest
from optuna import create_study
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial
from tests.ledgers import Database, open_search, report_at

from embsweep.config.search_space import FloatRange
from embsweep.search import attribution
from embsweep.search import importance as module
from embsweep.search.attribution import attribute, select_best
from embsweep.search.importance import OBJECTIVE, compute_importance, read_importance, record_importance
from embsweep.search.ped_anova import build_column, compute_divergences
from embsweep.search.record import CONFIG, PROMOTION, REPORT
from embsweep.training.messages import REPORTS

X, LOSS = FloatDistribution(0.0, 1.0), CategoricalDistribution(("mnrl", "gist", "cached"))
SPACE = {"x": X, "y": X, "z": X, "loss": LOSS}


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    """Resample less often, which is enough for large effects and takes a fifth of the time."""
    monkeypatch.setattr(attribution, "_RESAMPLES", 40)
    monkeypatch.setattr(attribution, "_PERMUTATIONS", 39)


def draw(count, seed=0, space=SPACE):
    """Return points of a space at random."""
    rng = np.random.default_rng(seed)
    return [
        {name: str(rng.choice(d.choices)) if d is LOSS else float(rng.random()) for name, d in space.items()}
        for _ in range(count)
    ]


def noise(count, seed=9):
    return 0.1 * np.random.default_rng(seed).normal(size=count)


def trials_of(points, space=SPACE):
    return [create_trial(params=p, distributions={k: space[k] for k in p}, value=0.0) for p in points]


def shares(points, values, **options):
    """Return the share of each parameter, or the reason why there is none."""
    found = attribute(trials_of(points), np.array(values), **options)
    return found.reason or {name: share.share for name, share in found.shares.items()}


# -- PED-ANOVA ----------------------------------------------------------------------------------------------------

KINDS = {
    "float": X, "log": FloatDistribution(1e-6, 1e-3, log=True), "step": FloatDistribution(0.0, 1.0, step=0.1),
    "int": IntDistribution(1, 8), "int step": IntDistribution(8, 32, step=8),
    "int log": IntDistribution(1, 100, log=True), "choice": LOSS, "one option": CategoricalDistribution(("a",)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Some regimes")
@pytest.mark.parametrize("count", [9, 30])
def test_divergences_are_those_of_optuna(count):
    """Up to the constant factor of Optuna 5; `only gist` is inactive in the trials with another loss."""
    study, rng = create_study(), np.random.default_rng(count)
    for _ in range(count):
        trial = study.ask(KINDS)
        if trial.params["choice"] == "gist":
            trial.suggest_float("only gist", 0.0, 1.0)
        study.tell(trial, trial.params["float"] + trial.params.get("only gist", 0.5) + 0.1 * rng.normal())
    once, losses = np.ones((1, count), int), np.array([[trial.value for trial in study.trials]])
    is_best = select_best(losses, once)
    names = [*KINDS, "only gist"]
    (((*found,),),) = compute_divergences([build_column(study.trials, name) for name in names], once, is_best)
    expected = PedAnovaImportanceEvaluator(target_quantile=is_best.mean()).evaluate(study)
    factor = is_best.mean() ** 2
    assert [factor * value for value in found] == pytest.approx([expected[name] for name in names], rel=1e-9)


def test_a_trial_that_is_drawn_twice_counts_twice():
    times = np.array([[2, 0, 1, 1, 3, 1, 0, 2, 1, 1]])
    losses = np.array([[3.0, 0.0, 1.0, 2.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0]])
    listed = np.repeat(losses, times[0], axis=1)
    again = np.repeat(select_best(losses, times)[0], times[0], axis=1)
    assert (again == select_best(listed, np.ones(listed.shape, int))[0]).all()


# -- known effects ------------------------------------------------------------------------------------------------


def test_the_parameter_that_matters_has_the_largest_share_and_its_interval():
    points = draw(60)
    found = attribute(trials_of(points), np.array([p["x"] for p in points]) + noise(60))
    assert found.trials == 60
    assert found.shares["x"].share > 0.8
    assert all(0 <= s.low <= s.share <= s.high <= 1 for s in found.shares.values())
    assert sum(s.share for s in found.shares.values()) == pytest.approx(1.0)
    assert found.shares["x"].low > max(share.high for name, share in found.shares.items() if name != "x")


def test_a_minimized_target_gives_what_its_negative_gives():
    points = draw(60)
    values = [p["x"] + n for p, n in zip(points, noise(60), strict=True)]
    assert shares(points, values) == shares(points, [-v for v in values], maximize=False)


def test_a_decreasing_parameter_matters_as_much_as_an_increasing_one():
    points = draw(60)
    mirrored = [{**p, "x": 1 - p["x"]} for p in points]
    values = [p["x"] + n for p, n in zip(points, noise(60), strict=True)]
    assert shares(points, values) == pytest.approx(shares(mirrored, values), abs=0.02)


def test_an_option_that_matters():
    points = draw(80)
    found = shares(points, [0.5 * (p["loss"] == "gist") + n for p, n in zip(points, noise(80), strict=True)])
    assert max(found, key=found.get) == "loss"


@pytest.mark.slow
def test_noise_is_told_from_effects():
    """Of 30 sweeps of 60 trials in which nothing matters, at most one is said to show anything."""
    said = [isinstance(shares(draw(60, seed), noise(60, seed + 100)), dict) for seed in range(30)]
    assert sum(said) <= 1


def test_nothing_is_said_about_noise():
    assert shares(draw(60), noise(60)).startswith("too few trials to say (60: ")


@pytest.mark.parametrize("count", [0, 1, 19])
def test_nothing_is_said_about_few_trials(count):
    points = draw(count)
    assert (
        shares(points, [p["x"] for p in points])
        == f"too few trials to say ({count} with a value, at least 20 are needed)"
    )


def test_equal_values_say_nothing():
    assert shares(draw(40), np.zeros(40)).startswith("too few trials to say")


def test_a_single_parameter_has_the_whole_share():
    points = [{"x": p["x"]} for p in draw(40)]
    assert shares(points, [p["x"] for p in points]) == {"x": 1.0}


def test_a_parameter_with_the_same_value_everywhere_has_no_share():
    points = [{**p, "y": 0.5} for p in draw(40)]
    assert set(shares(points, [p["x"] for p in points])) == {"x", "z", "loss"}
    alone = [{"y": 0.5}] * 40
    assert shares(alone, noise(40)) == "no parameter has more than one value"


# -- trials of a ledger -------------------------------------------------------------------------------------------


def ended(point, curve, state=TrialState.COMPLETE, *, paused=False, scores=None, **attributes):
    """Return a trial with the values `curve` at steps, and `scores` of dimensions at the last one."""
    own = {PROMOTION: {"until": 1000, "paused": paused}, **attributes}
    if scores is not None:
        (row,) = REPORTS.dump_python((report_at(max(curve) / 1000, 0.0),), mode="json")
        own[f"{REPORT}{row['step']}"] = {**row, "scores": {dim: {"map@100": v} for dim, v in scores.items()}}
    value = max(curve.values()) if state == TrialState.COMPLETE else None
    return create_trial(
        state=state, params=point, distributions={k: SPACE[k] for k in point}, value=value, user_attrs=own,
        intermediate_values=curve,
    )  # fmt: skip


RUNGS = (250, 1000)


def test_paused_and_stopped_trials_count_at_their_carried_values():
    """All gain 0.3 from rung to rung: where a trial pauses or is stopped must not matter."""
    points = draw(60)
    finals = [p["x"] + n for p, n in zip(points, noise(60), strict=True)]
    complete = [ended(p, {250: v - 0.3, 1000: v}) for p, v in zip(points, finals, strict=True)]
    early = [
        trial if n % 3 == 0 else ended(p, {250: v - 0.3}, *kind)
        for n, (p, v, trial) in enumerate(zip(points, finals, complete, strict=True))
        for kind in [(TrialState.PRUNED,)]
    ]
    paused = [
        ended(p, {250: v - 0.3}, TrialState.RUNNING, paused=True) if n % 2 else trial
        for n, (p, v, trial) in enumerate(zip(points, finals, early, strict=True))
    ]
    expected, found = (compute_importance(trials, None, RUNGS).targets[OBJECTIVE] for trials in (complete, paused))
    assert found.trials == 60
    assert expected.shares["x"].share > 0.8
    assert {k: s.share for k, s in found.shares.items()} == pytest.approx(
        {k: s.share for k, s in expected.shares.items()}
    )


def test_failed_and_running_trials_do_not_count():
    points = draw(30)
    trials = [
        *(ended(p, {1000: p["x"]}) for p in points),
        *(ended(p, {250: 9.0}, TrialState.FAIL) for p in points),
        *(ended(p, {250: 9.0}, TrialState.RUNNING) for p in points),
        ended(points[0], {}, TrialState.PRUNED),
    ]
    assert compute_importance(trials, None, RUNGS).targets[OBJECTIVE].trials == 30


def test_each_dimension_has_its_own_shares():
    points = draw(60)
    trials = [ended(p, {1000: p["x"]}, scores={384: p["x"], 64: p["y"]}) for p in points]
    found = compute_importance(trials, "map@100").targets
    largest = {name: max(t.shares, key=lambda key, t=t: t.shares[key].share) for name, t in found.items()}
    assert largest == {OBJECTIVE: "x", "map@100/384": "x", "map@100/64": "y"}


def test_a_parameter_is_inactive_where_its_option_does_not_use_it():
    """`y` is not used with `mnrl`, where its values cannot matter, although they happen to rise with the objective."""
    points = draw(90)
    values = [p["x"] if p["loss"] != "mnrl" else p["y"] for p in points]
    used = [ended(p, {1000: v}) for p, v in zip(points, values, strict=True)]
    unused = [
        ended(p, {1000: v}, **{CONFIG: {"y": None if p["loss"] == "mnrl" else p["y"], "loss": {"kind": p["loss"]}}})
        for p, v in zip(points, values, strict=True)
    ]
    before, after = (compute_importance(trials, None).targets[OBJECTIVE].shares["y"].share for trials in (used, unused))
    assert after < before / 2


def test_trials_without_a_score_at_a_dimension_do_not_count_for_it():
    points = draw(30)
    trials = [ended(p, {1000: p["x"]}, scores={64: p["x"], **({32: 0.5} if n else {})}) for n, p in enumerate(points)]
    found = compute_importance(trials, "map@100").targets
    assert {name: target.trials for name, target in found.items()} == {
        OBJECTIVE: 30,
        "map@100/64": 30,
        "map@100/32": 29,
    }


def test_an_absent_or_empty_ledger_says_nothing(tmp_path):
    (tmp_path / "empty.db").touch()
    for name in ("absent.db", "empty.db"):
        found = read_importance(tmp_path / name)
        assert found.params == ()
        assert found.targets[OBJECTIVE].reason.startswith("too few trials to say (0 ")


@pytest.mark.slow
def test_a_ledger_keeps_what_mattered(tmp_path):
    database = Database(tmp_path / "study.db")
    ledger = open_search(database.open(), (FloatRange("x", 0.0, 1.0), FloatRange("y", 0.0, 1.0)))
    for _ in range(20):
        record = ledger.ask()
        ledger.report(record.number, report_at(1.0, record.params["x"]))
        ledger.complete(record.number, record.params["x"])
    ledger.set_metadata(identity={"objective.metric": "map@100"})
    record_importance(ledger, database.path)
    found = ledger.metadata["importance"]
    assert list(found) == ["objective", "map@100/64"]
    assert found["objective"] == found["map@100/64"]
    assert found["objective"]["shares"]["x"]["share"] > 0.7
    assert found == read_importance(database.path).to_json()


def test_a_sweep_goes_on_if_what_mattered_cannot_be_computed(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(module, "compute_importance", lambda *_: 1 / 0)
    ledger = open_search(InMemoryStorage(), (FloatRange("x", 0.0, 1.0),))
    record_importance(ledger, tmp_path / "study.db")
    assert "importance" not in ledger.metadata
    assert "ZeroDivisionError" in caplog.text
