"""Outages are distinguished from full disks, and requests are retried only after an outage."""

import errno

import pytest

from embsweep.core.errors import DiskFull, InputError, TrackingUnavailable
from embsweep.tracking import connection
from embsweep.tracking.connection import connect, retry, translate_outages

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(connection, "_PAUSE_S", 0.0)


def disk_full_errors():
    from safetensors import SafetensorError

    return [
        OSError(errno.ENOSPC, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        RuntimeError("[enforce fail at inline_container.cc:672] . No space left on device"),
    ]


def test_a_full_disk_is_no_outage():
    for error in disk_full_errors():
        with pytest.raises(DiskFull) as caught, translate_outages("what it meant"):
            raise error
        assert "what it meant" in str(caught.value)


def test_a_request_is_sent_three_times_before_the_outage_is_raised():
    requests = []

    def request():
        requests.append(1)
        raise ConnectionError("https://ann:hunter2@host: refused")

    with pytest.raises(TrackingUnavailable) as caught:
        retry(request, "what it meant")
    assert "ConnectionError: https://***@host" in str(caught.value)
    assert "what it meant" in str(caught.value)
    assert len(requests) == 3
    assert "hunter2" not in str(caught.value)


def test_a_short_outage_is_not_raised():
    responses = iter([ConnectionError("refused"), TimeoutError("slow"), 7])

    def request():
        response = next(responses)
        if isinstance(response, Exception):
            raise response
        return response

    assert retry(request, "nothing was registered") == 7


@pytest.mark.parametrize("error", [InputError([]), KeyError("a defect"), *disk_full_errors()])
def test_a_permanent_error_is_not_retried(error):
    requests = []

    def request():
        requests.append(1)
        raise error

    with pytest.raises((InputError, KeyError, DiskFull)):
        retry(request, "nothing was registered")
    assert len(requests) == 1


def test_a_request_that_was_slow_is_not_sent_again(set_env):
    """A stalled server would execute every copy of the request and create as many runs."""
    import http.server
    import threading
    import time

    received = []

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.path)
            time.sleep(1.5)

        def log_message(self, *arguments):
            pass

    set_env(MLFLOW_HTTP_REQUEST_TIMEOUT="1")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with pytest.raises(Exception, match="timed out"):
            connect(f"http://127.0.0.1:{server.server_port}").create_run("1")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert len(received) == 1
