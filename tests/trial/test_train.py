"""One trial for real, on the static model: it learns, reports, stops, keeps its best weights, fails with reasons."""

import math

import pytest

from embsweep.config.training import TrainConfig
from embsweep.data.collection import Pair
from embsweep.trial.reporter import Outcome, TrialJob
from embsweep.trial.train import TrialData, run_trial

from .recorder import Recorder

pytestmark = pytest.mark.slow


@pytest.fixture
def make_job(make_config, tmp_path):
    def make(*overrides):
        config = make_config("model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", *overrides)
        return TrialJob(number=3, attempt=1, config=config.trial, folder=str(tmp_path / "0003"))

    return make


def test_a_trial_learns_and_its_best_weights_are_on_disk(make_job, data):
    from embsweep.trial.checkpoint import load_checkpoint
    from embsweep.trial.evaluator import evaluate_model

    job, recorder = make_job("train.epochs=4", "eval.fractions=[0.25,0.5,1.0]"), Recorder()
    run_trial(job, recorder, data)
    assert [r.fraction for r in recorder.reports] == [0.25, 0.5, 1.0]
    assert [r.step for r in recorder.reports] == [5, 10, 20]
    (result,) = recorder.results
    assert result.outcome == Outcome.COMPLETE
    assert result.best_objective == max(r.objective for r in recorder.reports)
    assert recorder.reports[-1].objective > recorder.reports[0].objective
    assert all(math.isfinite(r.loss) for r in recorder.reports)
    assert recorder.reports[-1].learning_rate < recorder.reports[0].learning_rate, "cosine falls"
    model = load_checkpoint(job.best)
    again = evaluate_model(model, data.validation, job.config.eval_dims, batch_size=64).scores
    assert again == result.best_scores, "the weights on disk are those of the best evaluation"


def test_training_prints_nothing(make_job, data, capsys):
    run_trial(make_job("train.epochs=1", "eval.fractions=[1.0]"), Recorder(), data)
    assert capsys.readouterr().out == ""


def test_start_says_what_was_paid_and_chosen(make_job, data):
    recorder = Recorder()
    run_trial(make_job("train.epochs=1", "eval.fractions=[1.0]"), recorder, data)
    (started,) = recorder.started
    assert started.setup_s >= started.import_s >= 0
    assert started.facts["train_pairs"] == 40
    assert started.facts["in_batch_negatives"] == 7


def test_running_best_never_falls_and_belongs_to_its_fraction(make_job, data):
    recorder = Recorder()
    run_trial(
        make_job("train.epochs=3", "train.learning_rate=0.3", "eval.fractions=[0.2,0.4,0.6,0.8,1.0]"), recorder, data
    )
    best = -1.0
    for report in recorder.reports:
        best = max(best, report.objective)
        assert report.best_objective == best
        assert next(r.objective for r in recorder.reports if r.fraction == report.best_fraction) == best


def test_stop_ends_training_at_that_report(make_job, data):
    recorder = Recorder(stop_at=0.5)
    run_trial(make_job("eval.fractions=[0.25,0.5,1.0]"), recorder, data)
    assert [r.fraction for r in recorder.reports] == [0.25, 0.5]
    assert recorder.results[0].outcome == Outcome.STOPPED
    assert recorder.results[0].best_objective is not None


def test_the_same_job_gives_the_same_numbers(make_job, data):
    first, second = Recorder(), Recorder()
    run_trial(make_job("train.epochs=2"), first, data)
    again = make_job("train.epochs=2")
    run_trial(again.model_copy(update={"folder": f"{again.folder}-again"}), second, data)
    assert [r.scores for r in first.reports] == [r.scores for r in second.reports]
    other = Recorder()
    run_trial(make_job("train.epochs=2", "train.seed=7"), other, data)
    assert [r.loss for r in other.reports] != [r.loss for r in first.reports]


@pytest.mark.parametrize("loss", ["mnrl", "cached_mnrl"])
def test_every_loss_trains_with_negatives_too(make_config, tmp_path, data, loss):
    pairs = tuple(Pair(p.anchor, p.positive, data.train[i - 1].positive) for i, p in enumerate(data.train))
    config = make_config(
        "model=minilm", "matryoshka=from_384", f"loss={loss}", "train.epochs=0.4", "eval.fractions=[1.0]",
        "model.max_seq_length=16", "train.batch_size=8",
    )  # fmt: skip
    recorder = Recorder()
    job = TrialJob(number=0, attempt=1, config=config.trial, folder=str(tmp_path))
    run_trial(job, recorder, TrialData(pairs, data.validation))
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason


def test_a_loss_that_is_not_finite_fails_at_once(make_job, data, monkeypatch):
    from embsweep.model import loss as losses

    build = losses.build_loss

    def poisoned(*arguments, **options):
        found = build(*arguments, **options)
        found.register_forward_hook(lambda module, inputs, output: output * math.nan, prepend=True)
        return found

    monkeypatch.setattr(losses, "build_loss", poisoned)
    recorder = Recorder()
    run_trial(make_job("train.epochs=4"), recorder, data)
    (result,) = recorder.results
    assert result.outcome == Outcome.FAILED
    assert "training loss is nan" in result.reason
    assert recorder.reports == []


def test_an_exception_becomes_a_reason(make_job, data):
    class Broken(Recorder):
        def report(self, report):
            raise OSError("disk full")

    recorder = Broken()
    run_trial(make_job("train.epochs=1"), recorder, data)
    (result,) = recorder.results
    assert (result.outcome, result.reason) == (Outcome.FAILED, "OSError: disk full")


def test_arguments_carry_every_setting(make_config, tmp_path):
    from embsweep.trial.arguments import build_arguments

    config = TrainConfig(
        learning_rate=3e-5, epochs=2.5, batch_size=12, accumulation=3, warmup=0.2, scheduler="linear",
        weight_decay=0.01, optimizer="adamw_torch", precision="fp32", batch_sampler="batch_sampler",
        gradient_checkpointing=True, max_grad_norm=0.5, seed=9,
    )  # fmt: skip
    found = build_arguments(config, tmp_path)
    assert (found.learning_rate, found.num_train_epochs, found.per_device_train_batch_size) == (3e-5, 2.5, 12)
    assert (found.gradient_accumulation_steps, found.warmup_steps, found.weight_decay) == (3, 0.2, 0.01)
    assert (found.lr_scheduler_type, found.optim, found.batch_sampler) == ("linear", "adamw_torch", "batch_sampler")
    assert (found.gradient_checkpointing, found.max_grad_norm, found.seed, found.data_seed) == (True, 0.5, 9, 9)
    assert (found.bf16, found.fp16) == (False, False)
    assert (found.eval_strategy, found.save_strategy, found.report_to) == ("no", "no", [])


def test_a_trial_trains_on_one_gpu_however_many_its_process_sees(monkeypatch, tmp_path, make_config):
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embsweep.trial.arguments import build_arguments

    original = SentenceTransformerTrainingArguments.__post_init__

    def on_a_machine_with_four(self):
        original(self)
        self._n_gpu = 4

    monkeypatch.setattr(SentenceTransformerTrainingArguments, "__post_init__", on_a_machine_with_four)
    arguments = build_arguments(make_config("train.batch_size=8").trial.train, tmp_path)
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == 8


def test_nothing_of_a_trial_is_left_when_its_memory_is_released(make_job, data, monkeypatch):
    import gc
    import weakref

    from embsweep.model import base
    from embsweep.trial import train

    built, left = [], []
    build = base.build_model

    def remember(*args, **kwargs):
        model = build(*args, **kwargs)
        built.append(weakref.ref(model))
        return model

    def look():
        release()
        left.extend(ref() for ref in built)

    release = train.release_memory
    monkeypatch.setattr(base, "build_model", remember)
    monkeypatch.setattr(train, "release_memory", look)
    gc.disable()
    try:
        run_trial(make_job("train.epochs=1", "eval.fractions=[1.0]"), Recorder(), data)
    finally:
        gc.enable()
    assert left == [None]
