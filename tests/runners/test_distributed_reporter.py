"""Reports of a trial's first worker and the replies to them, without Ray: the mailbox is a test double."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from embsweep.core.distributed import ProcessGroup
from embsweep.training.messages import MESSAGE, Outcome, TrialResult, TrialStarted
from tests.doubles import reports_of

pytestmark = pytest.mark.slow  # importing Ray takes a second

STARTED = TrialStarted(1, "here", 0.0, 0.0, 0.0)
REPORT = reports_of(4)(2)
ENDED = TrialResult(Outcome.COMPLETE, 2.0, "best", 1.0)
FAILED = TrialResult(Outcome.FAILED, None, None, 1.0, "loss is nan")


class Mailbox:
    """A mailbox that hands out `texts` and records messages and replies; its methods are called like an actor's."""

    def __init__(self, *messages, answer=False):
        self.texts = [MESSAGE.dump_json(message).decode() if message else None for message in messages]
        self.posted, self.answers = [], []
        self.collect = SimpleNamespace(remote=lambda timeout_s: self.texts.pop(0) if self.texts else None)
        self.answer = SimpleNamespace(remote=self.answers.append)
        self.post = SimpleNamespace(remote=lambda text: self.posted.append(MESSAGE.validate_json(text)) or answer)


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


class FakeRay:
    """Ray whose references are their own values: an exception is a task that has failed, None one that is running."""

    def get(self, value):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, Exception):
                raise item
        return value

    def wait(self, tasks, num_returns, timeout=None):
        return [task for task in tasks if task is not None or timeout is None], []


@pytest.fixture
def group(monkeypatch):
    """The module under test, with a fake Ray."""
    from embsweep.runners.ray import distributed as group

    monkeypatch.setattr(group, "ray", FakeRay())
    return group


class Pair(ProcessGroup):
    """A process group without other processes that records the broadcast values."""

    def broadcast(self, value):
        object.__setattr__(self, "shared", [*getattr(self, "shared", ()), value])
        return value


RUNNING = [None, None]


@pytest.mark.parametrize("should_stop", [False, True])
def test_messages_are_forwarded_in_order_and_answered(group, should_stop):
    mailbox, listener = Mailbox(STARTED, REPORT, None, ENDED), Listener(should_stop)
    group._forward_messages(mailbox, RUNNING, listener)
    assert listener.received == [STARTED, REPORT, ENDED]
    assert mailbox.answers == [False, should_stop, False]


def test_messages_still_in_the_mailbox_when_a_worker_has_died_are_forwarded(group):
    mailbox, listener = Mailbox(REPORT, ENDED), Listener()
    group._forward_messages(mailbox, [None, group.RayActorError()], listener)
    assert listener.received == [REPORT, ENDED]


def test_a_failure_of_any_worker_ends_the_trial_at_once(group):
    listener = Listener()
    group._forward_messages(Mailbox(REPORT, FAILED), RUNNING, listener)
    assert listener.received == [REPORT, FAILED]


def test_a_dead_worker_is_no_result(group):
    listener = Listener()
    with pytest.raises(group.RayActorError):
        group._forward_messages(Mailbox(REPORT), [None, group.RayActorError()], listener)
    assert listener.received == [REPORT]


def test_the_first_worker_reports_and_broadcasts_the_reply(group):
    mailbox, first = Mailbox(answer=True), Pair(0, 2)
    reporter = group._GroupReporter(first, mailbox)
    reporter.start(STARTED)
    assert reporter.report(REPORT) is True
    reporter.finish(ENDED)
    assert mailbox.posted == [STARTED, REPORT, ENDED]
    assert first.shared == [True]
    assert reporter.loss is None


def test_other_workers_do_not_report_and_receive_the_reply(group):
    mailbox, second = Mailbox(answer=True), Pair(1, 2)
    reporter = group._GroupReporter(second, mailbox)
    reporter.start(STARTED)
    reporter.report(REPORT)
    reporter.finish(ENDED)
    assert mailbox.posted == []
    assert second.shared == [False], "the collective call is made nevertheless"


@pytest.mark.parametrize("rank", [0, 1])
def test_every_worker_reports_its_own_failure(group, rank):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(rank, 2), mailbox)
    reporter.finish(FAILED)
    assert mailbox.posted == [FAILED]
    assert reporter.loss is None


@pytest.mark.parametrize(
    ("reason", "context_broken", "expected"),
    [
        ("ncclRemoteError: a peer is gone", False, "the connection between the workers broke: ncclRemoteError: a peer"),
        (
            "CUDA error: device-side assert triggered | CUDA kernel",
            True,
            "CUDA error: device-side assert triggered; its",
        ),
    ],
)
def test_a_lost_worker_is_not_reported_as_the_end_of_the_trial(group, reason, context_broken, expected):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(0, 2), mailbox)
    reporter.finish(replace(FAILED, reason=reason, context_broken=context_broken))
    assert mailbox.posted == []
    assert str(reporter.loss).startswith(expected)
    assert isinstance(reporter.loss, group.PeerLost) is not context_broken


def test_a_fault_of_the_set_up_is_the_end_of_the_trial(group):
    mailbox = Mailbox()
    reporter = group._GroupReporter(Pair(1, 2), mailbox)
    reporter.finish(replace(FAILED, reason="DistBackendError: ncclInvalidUsage: Duplicate GPU", context_broken=True))
    (posted,) = mailbox.posted
    assert "Duplicate GPU. Two workers have the same GPU" in posted.reason
    assert (reporter.loss, posted.context_broken) == (None, False)


def test_the_cause_of_a_lost_connection_is_preferred_to_it(group):
    """The worker that notices it may be the first to fail."""

    class Lost(group.PeerLost, group.RayError): ...

    with pytest.raises(group.RayActorError):
        group._forward_messages(Mailbox(), [Lost("closed"), group.RayActorError()], Listener())
