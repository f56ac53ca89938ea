"""Several processes train one trial like one process: they share the batch and so its in-batch negatives."""

import pytest

from embsweep.core.distributed import SINGLE, ProcessGroup
from embsweep.data.collection import Pair, RetrievalSet
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.trial import TrialData
from tests.training.process_groups import open_group, run_alone

TOLERANCE = 2e-3
"""Largest difference of a metric between one process and two: sums in another order, amplified over an epoch."""


def test_every_row_is_in_exactly_one_shard():
    rows = list(range(10))
    parts = [ProcessGroup(rank, 3).shard(rows) for rank in range(3)]
    assert sorted(row for part in parts for row in part) == rows
    assert SINGLE.shard(rows) == rows


@pytest.fixture(scope="module")
def run_in_two():
    with open_group(2) as run:
        yield run


@pytest.fixture
def make_job(make_config, tmp_path):
    def make(name, *overrides):
        keys = {override.split("=")[0] for override in overrides}
        common = [o for o in ("matryoshka=from_384", "eval.fractions=[0.5,1.0]") if o.split("=")[0] not in keys]
        if "model=bge-m3" in overrides:  # the tiny model has eight units and sets its own dimensions
            common.remove("matryoshka=from_384")
        return TrialSpec(
            number=0, attempt=1, config=make_config(*common, *overrides).trial, folder=str(tmp_path / name)
        )

    return make


@pytest.fixture(scope="module")
def sentences(shared_set):
    """Real queries and passages (XQuAD, German): 96 training pairs and 60 queries to evaluate."""
    full = shared_set("xquad_de")
    pairs = [(full.queries[row], full.corpus[full.relevant[row][0]][:300]) for row in range(0, 1000, 5)]
    train = tuple(Pair(*pair) for pair in pairs[:96])
    corpus = tuple(dict.fromkeys(text for _, text in pairs))
    held = pairs[100:160]
    return TrialData(
        train, RetrievalSet("held", tuple(q for q, _ in held), corpus, tuple((corpus.index(p),) for _, p in held))
    )


MINILM = (
    "model=minilm",
    "model.max_seq_length=48",
    "train.epochs=1",
    "train.learning_rate=1e-4",
    "train.batch_size=16",
)


TINY = ("train.epochs=2", "train.learning_rate=1e-2", "train.batch_size=8", "train.warmup=0.0")
LOSSES = [("loss=mnrl", "train.accumulation=2"), ("loss=cached_mnrl", "loss.mini_batch_size=4")]


@pytest.fixture
def compare(run_in_two, make_job):
    """Compare training in one and in two processes; return workers, batch per worker and in-batch negatives of two."""

    def check(setup, loss, trial_data):
        one = run_alone(make_job("one", *setup, *loss), trial_data)
        first, second = run_in_two(make_job("two", *setup, *loss), trial_data)
        assert first.results[0].outcome == Outcome.COMPLETE, first.results[0].reason
        for alone, shared in zip(one.reports, first.reports, strict=True):
            assert (shared.step, shared.fraction, shared.learning_rate) == (
                alone.step,
                alone.fraction,
                alone.learning_rate,
            )
            assert shared.loss == pytest.approx(alone.loss, rel=1e-3)
            for dim, by_metric in alone.scores.items():
                for metric, value in by_metric.items():
                    assert shared.scores[dim][metric] == pytest.approx(value, abs=TOLERANCE), (dim, metric)
        assert [r.scores for r in second.reports] == [r.scores for r in first.reports], "the first shares its scores"
        assert one.reports[0].scores != one.reports[1].scores, "training changes the scores"
        facts = first.started[0].facts
        accumulation = 2 if "train.accumulation=2" in loss else 1
        batch = facts["batch_per_worker"] * 2
        assert facts["effective_batch"] == one.started[0].facts["effective_batch"] == batch * accumulation
        return facts["workers"], facts["batch_per_worker"], facts["in_batch_negatives"]

    return check


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES, ids=["mnrl", "cached"])
def test_two_processes_with_half_a_batch_each_match_one_process(compare, tiny_model, data, loss):
    assert compare((*tiny_model, *TINY), loss, data) == (2, 4, 7)


@pytest.mark.nightly
@pytest.mark.parametrize("loss", LOSSES, ids=["mnrl", "cached"])
def test_two_processes_match_one_with_a_real_model_on_real_texts(compare, sentences, loss):
    assert compare(MINILM, loss, sentences) == (2, 8, 15)


@pytest.mark.slow
def test_all_processes_end_at_a_stop(run_in_two, make_job, tiny_model, data):
    first, second = run_in_two(make_job("stop", *tiny_model, *TINY), data, stop_at=0.5)
    for recorder in (first, second):
        assert [r.fraction for r in recorder.reports] == [0.5]
        assert recorder.results[0].outcome == Outcome.STOPPED


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["no_duplicates", "batch_sampler"])
def test_resume_with_the_same_number_of_processes(run_in_two, make_job, tiny_model, data, tmp_path, sampler):
    """The first run is stopped within its second epoch: its state is left on disk, as after a crash."""
    setup = (*tiny_model, *TINY, f"train.batch_sampler={sampler}", "eval.fractions=[0.75,1.0]")
    uninterrupted, _ = run_in_two(make_job("uninterrupted", *setup), data)
    job = make_job("stopped", *setup)
    run_in_two(job, data, stop_at=0.75)
    assert {file.name for file in job.state.glob("rng_state*")} == {"rng_state_0.pth", "rng_state_1.pth"}
    resumed, _ = run_in_two(make_job("stopped", *setup), data)
    assert [r.fraction for r in resumed.reports] == [0.75, 1.0], "the last report is repeated"
    assert resumed.results[0].outcome == Outcome.COMPLETE
    assert resumed.results[0].best_objective == uninterrupted.results[0].best_objective
    assert resumed.reports[-1].scores == uninterrupted.reports[-1].scores
    assert resumed.reports[-1].loss == uninterrupted.reports[-1].loss, "the same batches as without the crash"
    assert not list((tmp_path / "stopped").glob(".*.tmp")), "only one process writes"
