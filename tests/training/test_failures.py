"""A trial that cannot go on fails with its reason, in one line, and nothing of it counts."""

import dataclasses
import math

import pytest

from embsweep.core.errors import Diagnostic, InputError, TrialFailed
from embsweep.evaluation.evaluator import check_scores
from embsweep.models import losses
from embsweep.training import callback
from embsweep.training.failures import describe_frames, format_error, to_single_line
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.trial import run_trial
from tests.refusals import raises_code
from tests.texts import numbers_in
from tests.training.recorder import Recorder

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
def test_a_loss_that_is_no_number(job, data, monkeypatch, value):
    build = losses.build_loss

    def poisoned(*args, **options):
        found = build(*args, **options)
        found.register_forward_hook(lambda module, inputs, output: output + value, prepend=True)
        return found

    monkeypatch.setattr(losses, "build_loss", poisoned)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    assert str(value) in result.reason.split()
    assert recorder.reports == []
    assert not job.best.exists()


def altered(monkeypatch, change):
    """Evaluations are `change`d from the second one on."""
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
def test_scores_that_are_missing_or_no_numbers(job, data, monkeypatch, change, named):
    """Not even where a mean over the other dimensions could do without them."""
    altered(monkeypatch, change)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    assert {*named} <= {*result.reason.split()}
    assert [r.fraction for r in recorder.reports] == [0.5], "what came before was told"


@pytest.mark.slow
def test_weights_that_are_no_numbers(job, data, monkeypatch):
    """The loss is looked at before the step that spoils them: nobody but the evaluation can know."""
    import torch

    real = callback.evaluate_model

    def corrupt_with(model, *args, **kwargs):
        with torch.no_grad():
            next(model.parameters()).fill_(math.nan)
        return real(model, *args, **kwargs)

    monkeypatch.setattr(callback, "evaluate_model", corrupt_with)
    recorder, result = run(job, data)
    assert result.outcome == Outcome.FAILED
    broken, of_all, first = numbers_in(result.reason)
    assert (broken, first) == (of_all, 0)
    assert recorder.reports == []


@pytest.mark.slow
def test_best_weights_that_cannot_be_written(job, data, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(callback, "save_checkpoint", full)
    recorder, result = run(job, data)
    assert (result.outcome, result.reason) == (Outcome.FAILED, "OSError: [Errno 28] No space left on device")
    assert recorder.reports == [], "an evaluation whose weights are not kept is not told"


@pytest.mark.slow
def test_a_message_of_many_lines_with_a_secret(job, data, monkeypatch):
    def fall(*_):
        raise RuntimeError(f"first line\n\n  second \x1b[31mline\n{SECRET}") from ValueError(SECRET)

    monkeypatch.setattr(callback, "save_per_query", fall)
    _, result = run(job, data)
    assert result.reason == f"RuntimeError: first line | second [31mline | {SECRET}", "who writes it down redacts it"
    kept = (job.best.parent / "error.txt").read_text()
    assert "in fall" in kept and "builtins.RuntimeError" in kept and "builtins.ValueError" in kept
    assert "hunter2" not in kept


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()])
@pytest.mark.slow
def test_an_exit_is_left_to_who_runs_the_attempt(job, data, monkeypatch, error):
    """`run_attempt` knows whether it is the user's."""

    def leave(*_):
        raise error

    monkeypatch.setattr(callback, "save_per_query", leave)
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
        (ValueError("bell\a, back\b, \u202eleft"), "ValueError: bell , back , left"),
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


def test_frames_tell_our_own_messages_and_no_others():
    def deeper():
        raise OSError(SECRET)

    def fall():
        try:
            deeper()
        except OSError as error:
            raise TrialFailed("no-evaluation", "there is no room") from error

    with pytest.raises(TrialFailed) as caught:
        fall()
    text = describe_frames(caught.value)
    assert "embsweep.core.errors.TrialFailed: there is no room" in text
    assert text.rstrip().endswith("builtins.OSError")
    assert "hunter2" not in text


def test_scores_that_are_whole():
    scores = {64: {"map@100": 0.5, "ndcg@10": 0.1}}
    check_scores(scores, "map@100")
    check_scores(scores, "map@100", (64,))
    with raises_code(TrialFailed, "missing-score"):
        check_scores(scores, "map@100", (128, 64))
