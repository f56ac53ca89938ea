"""Real trials of the static model: learning, reports, stops, the best weights, failures with their reasons."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from embsweep.data.collection import Pair
from embsweep.models import builders
from embsweep.models.copies import copy_model
from embsweep.training.hardware import HardwareSettings
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.trial import TrialData
from tests.training.recorder import Recorder, run_trial
from tests.training.tiny import build_tiny

pytestmark = pytest.mark.slow

PEAK = 1e-2
"""The learning rate of `train=static`."""


@pytest.fixture
def make_static_job(heavy_imports, make_config, tmp_path):
    def make(*overrides, folder="0003"):
        config = make_config("model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", *overrides)
        return TrialSpec(number=3, attempt=1, config=config.trial, folder=str(tmp_path / folder))

    return make


@pytest.fixture
def make_job(make_static_job, data, monkeypatch):
    """`make_job(*overrides)`: a job whose static model has the words of `data`."""
    monkeypatch.setattr(builders, "build_model", build_tiny(data))
    return make_static_job


def test_a_trial_that_was_given_a_gpu_never_trains_on_a_cpu(make_job, data, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    recorder = Recorder()
    run_trial(make_job(), recorder, data, needs_gpu=True)
    (result,) = recorder.results
    assert result.outcome == Outcome.FAILED
    assert "was given a GPU" in result.reason
    assert recorder.reports == []


def test_a_trial_learns_and_its_best_weights_are_on_disk(make_static_job, data):
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.training.checkpoint import load_checkpoint

    job, recorder = make_static_job("train.epochs=4", "eval.fractions=[0.25,0.5,1.0]"), Recorder()
    run_trial(job, recorder, data)
    assert [r.fraction for r in recorder.reports] == [0.25, 0.5, 1.0]
    assert [r.step for r in recorder.reports] == [5, 10, 20]
    (result,) = recorder.results
    assert result.outcome == Outcome.COMPLETE
    assert result.best_objective == max(r.objective for r in recorder.reports)
    assert recorder.reports[-1].objective > recorder.reports[0].objective
    assert all(math.isfinite(r.loss) for r in recorder.reports)
    assert recorder.reports[-1].learning_rate < recorder.reports[0].learning_rate, "the cosine schedule decreases"
    model = load_checkpoint(job.best)
    again = evaluate_model(model, data.validation, job.config.eval_dims, batch_size=64).scores
    assert again == max(recorder.reports, key=lambda report: report.objective).scores, (
        "the weights on disk are those of the best evaluation"
    )


def test_training_prints_nothing(make_job, data, capsys):
    run_trial(make_job("train.epochs=1", "eval.fractions=[1.0]"), Recorder(), data)
    assert capsys.readouterr().out == ""


def test_start_reports_setup_times_and_facts(make_job, data):
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


@pytest.mark.parametrize("model", ["tiny", pytest.param("minilm", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("loss", ["mnrl", "cached_mnrl"])
def test_every_loss_trains_with_negatives_too(make_config, tiny_model, tmp_path, data, loss, model):
    pairs = tuple(Pair(p.anchor, p.positive, (data.train[i - 1].positive,)) for i, p in enumerate(data.train))
    of_model = tiny_model if model == "tiny" else ("model=minilm", "matryoshka=from_384", "model.max_seq_length=16")
    config = make_config(*of_model, f"loss={loss}", "train.epochs=0.4", "eval.fractions=[1.0]", "train.batch_size=8")
    recorder = Recorder()
    job = TrialSpec(number=0, attempt=1, config=config.trial, folder=str(tmp_path))
    run_trial(job, recorder, TrialData(pairs, data.validation))
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason


def test_a_loss_that_is_not_finite_fails_at_once(make_job, data, monkeypatch):
    from embsweep.models import losses

    build = losses.build_loss

    def build_nan_loss(*arguments, **options):
        loss_module = build(*arguments, **options)
        loss_module.register_forward_hook(lambda module, inputs, output: output * math.nan, prepend=True)
        return loss_module

    monkeypatch.setattr(losses, "build_loss", build_nan_loss)
    recorder = Recorder()
    run_trial(make_job("train.epochs=4"), recorder, data)
    (result,) = recorder.results
    assert result.outcome == Outcome.FAILED
    assert "nan" in result.reason.split()
    assert recorder.reports == []


def test_an_exception_becomes_a_reason(make_job, data):
    class Broken(Recorder):
        def report(self, report):
            raise OSError("disk full")

    recorder = Broken()
    run_trial(make_job("train.epochs=1"), recorder, data)
    (result,) = recorder.results
    assert (result.outcome, result.reason) == (Outcome.FAILED, "OSError: disk full")


@pytest.mark.parametrize(
    ("overrides", "steps"),
    [
        (("train.epochs=2",), 2 * 40 // 8),
        (("train.epochs=0.6",), 3),
        (("train.batch_size=20", "train.epochs=1"), 2),
        (("train.accumulation=5", "train.epochs=2"), 2),
    ],
)
def test_steps_follow_from_epochs_batch_and_accumulation(make_job, data, overrides, steps):
    """The training data are forty pairs."""
    recorder = Recorder()
    run_trial(make_job(*overrides, "eval.fractions=[1.0]"), recorder, data)
    assert [r.step for r in recorder.reports] == [steps]


@pytest.mark.parametrize(
    ("scheduler", "warmup", "halfway", "at_the_end"),
    [
        ("constant", 0.0, 1.0, 1.0),
        ("linear", 0.0, 0.5, 0.0),
        ("linear", 0.8, 5 / 8, 0.0),
        ("constant_with_warmup", 0.8, 5 / 8, 1.0),
        ("cosine", 0.0, 0.5, 0.0),
    ],
)
def test_the_learning_rate_follows_its_schedule(make_job, data, scheduler, warmup, halfway, at_the_end):
    """Compare the rate, relative to its peak, after five and after ten of ten steps."""
    overrides = (f"train.scheduler={scheduler}", f"train.warmup={warmup}", "train.epochs=2", "eval.fractions=[0.5,1.0]")
    recorder = Recorder()
    run_trial(make_job(*overrides), recorder, data)
    rates = [r.learning_rate / PEAK for r in recorder.reports]
    assert rates == pytest.approx([halfway, at_the_end], abs=1e-6)


def weights_of(job, data):
    """Run the trial and return all weights of its best checkpoint."""
    from safetensors.torch import load_file

    run_trial(job, Recorder(), data)
    (file,) = job.best.rglob("*.safetensors")
    (table,) = load_file(file).values()
    return table


@pytest.mark.parametrize(
    ("overrides", "moved"),
    [
        (("train.learning_rate=0.02",), (1.2, 10)),
        (("train.weight_decay=30",), (1.2, 1000)),
        (("train.max_grad_norm=1e-12",), (0, 0.5)),
    ],
)
def test_optimizer_settings_take_effect(make_job, data, overrides, moved):
    """Compare how far the weights move with and without the override."""
    steady = ("train.scheduler=constant", "train.warmup=0", "train.epochs=1", "eval.fractions=[1.0]")
    begin = weights_of(make_job(*steady, "train.learning_rate=1e-9", folder="still"), data)
    plain = weights_of(make_job(*steady, folder="plain"), data)
    changed = weights_of(make_job(*steady, *overrides, folder="changed"), data)
    least, most = moved
    assert least <= float((changed - begin).norm() / (plain - begin).norm()) <= most


@pytest.mark.parametrize("requested", [True, False])
def test_activations_are_recomputed_if_requested(make_config, tiny_model, tmp_path, data, monkeypatch, requested):
    from transformers import PreTrainedModel

    enabled, enable = [], PreTrainedModel.gradient_checkpointing_enable
    monkeypatch.setattr(
        PreTrainedModel,
        "gradient_checkpointing_enable",
        lambda *args, **options: (enabled.append(1), enable(*args, **options)),
    )
    switch = f"train.gradient_checkpointing={str(requested).lower()}"
    config = make_config(*tiny_model, "train.epochs=0.4", "train.batch_size=8", "eval.fractions=[1.0]", switch)
    recorder = Recorder()
    run_trial(TrialSpec(number=0, attempt=1, config=config.trial, folder=str(tmp_path)), recorder, data)
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason
    assert bool(enabled) is requested


def test_a_trial_loads_its_model_from_the_copy(make_config, tiny_model, data, tmp_path):
    """As on a machine that lacks the original. No file of the trial names the folder of the copy."""
    config = make_config(*tiny_model, "train.epochs=0.4", "train.batch_size=8", "eval.fractions=[1.0]").trial
    root = tmp_path / "models"
    root.mkdir()
    copy = replace(copy_model(config.model, root), source="/no/such/folder")
    config = config.model_copy(update={"model": config.model.model_copy(update={"source": copy.source})})
    job, recorder = TrialSpec(number=0, attempt=1, config=config, folder=str(tmp_path / "trial")), Recorder()
    run_trial(job, recorder, data, models=(copy,))
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason
    files = [path for path in Path(job.folder).rglob("*") if path.is_file()]
    assert not [path for path in files if str(root).encode() in path.read_bytes()]


def test_the_trainer_adds_nothing_to_the_folder_of_the_trial(make_job, data):
    """The trainer neither evaluates, saves nor reports."""
    job = make_job("train.epochs=1", "eval.fractions=[0.5,1.0]")
    run_trial(job, Recorder(), data)
    assert not [path for path in job.best.parent.rglob("*") if path.name.startswith(("checkpoint-", "runs"))]


def test_a_trial_trains_on_one_gpu_however_many_its_process_sees(monkeypatch, tmp_path, make_config):
    from sentence_transformers import SentenceTransformerTrainingArguments

    from embsweep.training.trainer import build_arguments

    original = SentenceTransformerTrainingArguments.__post_init__

    def on_a_machine_with_four(self):
        original(self)
        self._n_gpu = 4

    monkeypatch.setattr(SentenceTransformerTrainingArguments, "__post_init__", on_a_machine_with_four)
    arguments = build_arguments(make_config("train.batch_size=8").trial.train, tmp_path, choice=HardwareSettings())
    assert arguments.n_gpu == 1
    assert arguments.train_batch_size == 8


def test_no_model_is_left_after_its_memory_is_released(make_job, data, monkeypatch):
    import gc
    import weakref

    from embsweep.training import trial

    built, left = [], []
    build = builders.build_model

    def remember(*args, **kwargs):
        model = build(*args, **kwargs)
        built.append(weakref.ref(model))
        return model

    def release_and_check():
        release()
        left.extend(ref() for ref in built)

    release = trial.release_memory
    monkeypatch.setattr(builders, "build_model", remember)
    monkeypatch.setattr(trial, "release_memory", release_and_check)
    gc.disable()
    try:
        run_trial(make_job("train.epochs=1", "eval.fractions=[1.0]"), Recorder(), data)
    finally:
        gc.enable()
    assert left == [None]
