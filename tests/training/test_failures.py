"""A trial that cannot continue fails with a reason of one line, and none of its results counts."""

import dataclasses
import math
import sys

import pytest

from embsweep.core.errors import Diagnostic, InputError, TrialFailed, describe_exception
from embsweep.models import losses
from embsweep.training import callback
from embsweep.training.failures import describe_frames, format_error, to_single_line
from embsweep.training.messages import Outcome, TrialSpec
from tests.training.recorder import Recorder, run_trial

pytestmark = pytest.mark.usefixtures("tiny_static")

SECRET = "postgresql://ann:hunter2hunter2@db.example.com/x"


@pytest.fixture
def job(make_config, tmp_path):
    config = make_config(
        *("model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", "train.epochs=2"),
        "eval.fractions=[0.5,1.0]",
    )
    return TrialSpec(number=3, attempt=1, config=config.trial, folder=str(tmp_path / "0003"))


def run(job, data):
    recorder = Recorder()
    run_trial(job, recorder, data)
    (result,) = recorder.results
    return recorder, result


@pytest.mark.slow
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite(job, data, monkeypatch, value):
    build = losses.build_loss

    def build_broken_loss(*args, **options):
        found = build(*args, **options)
        found.register_forward_hook(lambda module, inputs, output: output + value, prepend=True)
        return found

    monkeypatch.setattr(losses, "build_loss", build_broken_loss)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    assert str(value) in result.reason.split()
    assert recorder.reports == []
    assert not job.best.exists()


def alter_evaluations(monkeypatch, change):
    """Apply `change` to the scores of every evaluation from the second one on."""
    real, calls = callback.evaluate_model, []

    def evaluate(*args, **kwargs):
        calls.append(1)
        found = real(*args, **kwargs)
        if len(calls) == 1:
            return found
        scores = {dim: dict(by_metric) for dim, by_metric in found.scores.items()}
        change(scores)
        return dataclasses.replace(found, scores=scores)

    monkeypatch.setattr(callback, "evaluate_model", evaluate)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda scores: scores.pop(64), ("map@100", "64")),
        (lambda scores: scores[128].pop("map@100"), ("map@100", "128")),
        (lambda scores: scores[384].update({"map@100": math.inf}), ("map@100", "384", "inf")),
        (lambda scores: scores[64].update({"ndcg@10": math.nan}), ("ndcg@10", "64", "nan")),
    ],
)
def test_scores_that_are_missing_or_not_finite(job, data, monkeypatch, change, named):
    """They fail the trial even if the mean over the other dimensions is defined without them."""
    alter_evaluations(monkeypatch, change)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    assert {*named} <= {*result.reason.split()}
    assert [r.fraction for r in recorder.reports] == [0.5], "earlier evaluations are reported"


@pytest.mark.slow
def test_weights_that_are_not_finite(job, data, monkeypatch):
    """The loss is computed before the step that corrupts the weights: only the evaluation can detect it."""
    import torch

    real = callback.evaluate_model

    def evaluate_corrupt_model(model, *args, **kwargs):
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)
        return real(model, *args, **kwargs)

    monkeypatch.setattr(callback, "evaluate_model", evaluate_corrupt_model)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    assert "the embedding of query 0 of" in result.reason
    assert recorder.reports == []


@pytest.mark.slow
def test_best_weights_that_cannot_be_written(job, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callback, "save_checkpoint", full)
    recorder, result = run(job, data)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "OSError: [Errno 28] No space left on device")
    assert recorder.reports == [], "an evaluation whose weights are not saved is not reported"


@pytest.mark.slow
def test_a_message_of_many_lines_with_a_secret(job, data, monkeypatch):
    def fail(*_):
        raise RuntimeError(f"first line\n\n  second \x1b[31mline\n{SECRET}") from ValueError(SECRET)

    monkeypatch.setattr(callback, "save_per_query", fail)
    _, result = run(job, data)
    assert result.reason == f"RuntimeError: first line | second \\x1b[31mline | {SECRET}", "its writer redacts it"
    saved = (job.best.parent / "error.txt").read_text()
    assert "in fail" in saved and "builtins.RuntimeError" in saved and "builtins.ValueError" in saved
    assert "hunter2" not in saved


@pytest.mark.slow
def test_a_cuda_error_breaks_the_context_of_its_process(job, data, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(callback, "save_per_query", fail)
    _, result = run(job, data)
    assert (result.outcome, result.context_broken, result.out_of_memory) == (Outcome.FAILED, True, False)
    assert "in fail" in (job.best.parent / "error.txt").read_text()


@pytest.mark.slow
def test_a_library_that_cannot_be_imported(job, data, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    assert "transformers" in result.reason
    assert recorder.started == []


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.slow
def test_an_exit_is_left_to_the_caller(job, data, monkeypatch, error):
    """`run_attempt` decides whether the user requested it."""

    def exit_process(*_):
        raise error

    monkeypatch.setattr(callback, "save_per_query", exit_process)
    with pytest.raises(type(error)):
        run_trial(job, Recorder(), data)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("no"), "ValueError: no"),
        (ValueError(), "ValueError"),
        (KeyError("map@100"), "KeyError: 'map@100'"),
        (TrialFailed("not-finite", "training loss is nan"), "training loss is nan"),
        (
            InputError([Diagnostic("empty", "a.b", "is wrong"), Diagnostic("empty", "c", "too")]),
            "a.b: is wrong | c: too",
        ),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ValueError("bell\a, back\b, \u202eleft"), r"ValueError: bell\x07, back\x08, \u202eleft"),
    ],
)
def test_reasons(error, reason):
    assert format_error(error) == reason


@pytest.mark.parametrize(("error", "call"), [(SystemExit(3), "sys.exit(3)"), (SystemExit("a\nb"), r"sys.exit('a\nb')")])
def test_the_reason_of_an_exit_is_the_call(error, call):
    assert format_error(error).endswith(f" {call}")


def test_a_reason_is_bounded():
    assert len(format_error(ValueError("x" * 10**6))) == len("ValueError: ") + 1000
    assert to_single_line("é" * 12, 5) == "éééé…"


def test_frames_show_the_messages_of_our_own_errors_only():
    def deeper():
        raise OSError(SECRET)

    def fail():
        try:
            deeper()
        except OSError as error:
            raise TrialFailed("no-evaluation", "there is no space") from error

    with pytest.raises(TrialFailed) as caught:
        fail()
    text = describe_frames(caught.value)
    assert "embsweep.core.errors.TrialFailed: there is no space" in text
    assert text.rstrip().endswith("builtins.OSError")
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Weights only load failed. Run it with `weights_only` set to False.", "Weights only load failed."),
        ("It has code.\nPlease pass the argument `trust_remote_code=True` to run it.", "It has code."),
        ("Object arrays cannot be loaded when allow_pickle=False", "it holds more than data"),
        ("out of paper. Add paper.", "out of paper. Add paper."),
    ],
)
def test_a_librarys_advice_to_turn_a_protection_off_is_not_repeated(text, shown):
    assert format_error(ValueError(text)) == f"ValueError: {shown}"
    assert describe_exception(ValueError(text)) == f"ValueError: {shown}"
