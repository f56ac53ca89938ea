"""Reports of a trial's first worker and the replies to them, without Ray: the mailbox is a test double."""

import pickle
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
    """A mailbox that hands out `texts` and records messages and replies; its methods are called like an actor's."""

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
    """The module under test, with a `ray.get` that returns its argument."""
    from embsweep.runners.ray import distributed as group

    monkeypatch.setattr(group, "ray", SimpleNamespace(get=lambda value: value))
    return group


class Pair(ProcessGroup):
    """A process group without other processes that records the broadcast values."""

    def broadcast(self, value):
        object.__setattr__(self, "shared", [*getattr(self, "shared", ()), value])
        return value


def finished():
    training = Future()
    training.set_result(None)
    return training


@pytest.mark.parametrize("should_stop", [False, True])
def test_messages_are_forwarded_in_order_and_answered(group, should_stop):
    mailbox, listener = Mailbox(STARTED, REPORT, None, ENDED), Listener(should_stop)
    running = SimpleNamespace(done=lambda: not mailbox.texts)
    assert group._forward_messages(mailbox, running, listener) is True
    assert listener.received == [STARTED, REPORT, ENDED]
    assert mailbox.answers == [False, should_stop, False]


def test_messages_still_in_the_mailbox_when_the_training_ends_are_forwarded(group):
    mailbox, listener = Mailbox(REPORT, ENDED), Listener()
    assert group._forward_messages(mailbox, finished(), listener) is True
    assert listener.received == [REPORT, ENDED]


def test_a_training_that_ends_without_a_result_is_a_failure(group):
    listener = Listener()
    assert group._forward_messages(Mailbox(REPORT), finished(), listener) is False
    assert group._to_result(None).outcome == Outcome.FAILED


def worker_failures(*errors):
    return SimpleNamespace(worker_failures=dict(enumerate(errors)))


def test_a_trial_that_raised_failed_with_its_own_reason(group):
    wrapped = SimpleNamespace(_base_exc=EmbsweepError("loss is nan"))
    result = group._to_result(worker_failures(group.WorkerHealthCheckFailedError("gone", Exception()), wrapped))
    assert (result.outcome, result.reason) == (Outcome.FAILED, "loss is nan")
    assert time.time() - result.ended_at < 60


def test_dead_workers_do_not_end_the_trial(group):
    for errors in ([group.WorkerLost("a peer")], [group.RayActorError()], []):
        with pytest.raises(group.WorkerLost):
            group._to_result(worker_failures(*errors))


def test_workers_that_never_started_do_not_end_the_trial(group):
    error = group.ControllerError(RuntimeError("no capacity"))
    with pytest.raises(group.WorkerLost):
        group._to_result(error)


def test_the_first_worker_reports_and_broadcasts_the_reply(group):
    mailbox, first = Mailbox(answer=True), Pair(0, 2)
    reporter = group._GroupReporter(first, mailbox)
    reporter.start(STARTED)
    assert reporter.report(REPORT) is True
    reporter.finish(ENDED)
    assert mailbox.posted == [STARTED, REPORT, ENDED]
    assert first.shared == [True]
    assert reporter.failure is None


def test_other_workers_do_not_report_and_receive_the_reply(group):
    mailbox, second = Mailbox(answer=True), Pair(1, 2)
    reporter = group._GroupReporter(second, mailbox)
    reporter.start(STARTED)
    reporter.report(REPORT)
    reporter.finish(ENDED)
    assert mailbox.posted == []
    assert second.shared == [False], "the collective call is made nevertheless"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_failure_is_kept_to_be_raised_for_the_other_workers(group, rank):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(rank, 2), mailbox)
    failed = TrialResult.failed("loss is nan", out_of_memory=True)
    reporter.finish(failed)
    assert mailbox.posted == ([failed] if rank == 0 else [])
    assert not isinstance(reporter.failure, group.WorkerLost)
    assert pickle.loads(pickle.dumps(reporter.failure)).result == failed


@pytest.mark.parametrize("reason", ["[gloo/transport/tcp/pair.cc] closed", "DistBackendError: x", "ncclRemoteError"])
def test_a_lost_peer_is_not_reported_as_the_end_of_the_trial(group, reason):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(0, 2), mailbox)
    reporter.finish(TrialResult.failed(reason))
    assert mailbox.posted == []
    assert isinstance(reporter.failure, group.WorkerLost)
