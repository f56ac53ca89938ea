"""The way of a report out of a trial's first worker and of its answer back, without Ray: the mailbox is a double."""

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest

from embsweep.core.distributed import ProcessGroup
from embsweep.core.errors import EmbsweepError
from embsweep.training.messages import Outcome, TrialResult, TrialStarted, from_text, to_text
from tests.doubles import reports_of

pytestmark = pytest.mark.slow  # importing Ray Train takes seconds

STARTED = TrialStarted(1, "here", 0.0, 0.0, 0.0)
REPORT = reports_of(4)(2)
ENDED = TrialResult(Outcome.COMPLETE, 2.0, None, "best", 1.0)


class Mailbox:
    """Hands out `texts` and remembers what is posted and answered; its methods are called as an actor's."""

    def __init__(self, *messages, answer=False):
        self.texts = [to_text(message) if message else None for message in messages]
        self.posted, self.answers = [], []
        self.collect = SimpleNamespace(remote=lambda timeout_s: self.texts.pop(0) if self.texts else None)
        self.answer = SimpleNamespace(remote=self.answers.append)
        self.post = SimpleNamespace(remote=lambda text: self.posted.append(from_text(text)) or answer)


class Listener:
    def __init__(self, should_stop=False):
        self.received, self.should_stop = [], should_stop

    def start(self, started):
        self.received.append(started)

    def report(self, report):
        self.received.append(report)
        return self.should_stop

    def finish(self, result):
        self.received.append(result)


@pytest.fixture
def group(monkeypatch):
    """The module, whose `ray.get` gives what it is given."""
    from embsweep.runners.ray import distributed as group

    monkeypatch.setattr(group, "ray", SimpleNamespace(get=lambda value: value))
    return group


class Pair(ProcessGroup):
    """As if there were another process; what the first one shares is noted."""

    def broadcast(self, value):
        object.__setattr__(self, "shared", [*getattr(self, "shared", ()), value])
        return value


def over():
    training = Future()
    training.set_result(None)
    return training


@pytest.mark.parametrize("should_stop", [False, True])
def test_messages_are_relayed_in_order_and_answered(group, should_stop):
    mailbox, listener = Mailbox(STARTED, REPORT, None, ENDED), Listener(should_stop)
    running = SimpleNamespace(done=lambda: not mailbox.texts)
    assert group._forward_messages(mailbox, running, listener) is True
    assert listener.received == [STARTED, REPORT, ENDED]
    assert mailbox.answers == [False, should_stop, False]


def test_what_lies_in_the_mailbox_when_the_training_ends_is_relayed_too(group):
    mailbox, listener = Mailbox(REPORT, ENDED), Listener()
    assert group._forward_messages(mailbox, over(), listener) is True
    assert listener.received == [REPORT, ENDED]


def test_an_end_without_a_result_is_told_from_one_with(group):
    listener = Listener()
    assert group._forward_messages(Mailbox(REPORT), over(), listener) is False
    assert group._to_result(None).outcome == Outcome.FAILED


def worker_failures(*errors):
    return SimpleNamespace(worker_failures=dict(enumerate(errors)))


def test_a_trial_that_raised_failed_with_its_own_reason(group):
    wrapped = SimpleNamespace(_base_exc=EmbsweepError("loss is nan"))
    result = group._to_result(worker_failures(group.WorkerHealthCheckFailedError("gone", Exception()), wrapped))
    assert (result.outcome, result.reason) == (Outcome.FAILED, "loss is nan")
    assert time.time() - result.ended_at < 60


def test_workers_that_died_are_no_end_of_the_trial(group):
    for errors in ([group.WorkerLost("the neighbour")], [group.RayActorError()], []):
        with pytest.raises(group.WorkerLost):
            group._to_result(worker_failures(*errors))


def test_workers_that_never_started_are_none_either(group):
    error = group.ControllerError(RuntimeError("no place"))
    with pytest.raises(group.WorkerLost):
        group._to_result(error)


def test_the_first_speaks_and_all_hear_the_answer(group):
    mailbox, first = Mailbox(answer=True), Pair(0, 2)
    reporter = group._GroupReporter(first, mailbox)
    reporter.start(STARTED)
    assert reporter.report(REPORT) is True
    reporter.finish(ENDED)
    assert mailbox.posted == [STARTED, REPORT, ENDED]
    assert first.shared == [True]
    assert reporter.failure is None


def test_the_others_are_silent_and_share_the_answer(group):
    mailbox, second = Mailbox(answer=True), Pair(1, 2)
    reporter = group._GroupReporter(second, mailbox)
    reporter.start(STARTED)
    reporter.report(REPORT)
    reporter.finish(ENDED)
    assert mailbox.posted == []
    assert second.shared == [False], "the collective call is made all the same"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_failure_is_raised_for_the_sake_of_the_others(group, rank):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(rank, 2), mailbox)
    failed = TrialResult(Outcome.FAILED, None, None, None, 1.0, "loss is nan")
    reporter.finish(failed)
    assert mailbox.posted == ([failed] if rank == 0 else [])
    assert not isinstance(reporter.failure, group.WorkerLost)
    assert str(reporter.failure) == "loss is nan"


@pytest.mark.parametrize("reason", ["[gloo/transport/tcp/pair.cc] closed", "DistBackendError: x", "ncclRemoteError"])
def test_a_lost_neighbour_is_not_told_as_the_trials_end(group, reason):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(0, 2), mailbox)
    reporter.finish(TrialResult(Outcome.FAILED, None, None, None, 1.0, reason))
    assert mailbox.posted == []
    assert isinstance(reporter.failure, group.WorkerLost)
