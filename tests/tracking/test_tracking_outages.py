"""Outages are distinguished from full disks, and requests are retried only after an outage."""

import errno
import http.server
import json
import threading
import time

import pytest

from embsweep.core.errors import DiskFull, InputError, TrackingUnavailable
from embsweep.tracking import connection
from embsweep.tracking.connection import connect, is_unavailable, retry, translate_outages

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


class Answering(http.server.BaseHTTPRequestHandler):
    """A server whose answer to every request is the class attribute `answer`: a status and an error code."""

    answer = (500, "INTERNAL_ERROR")

    def do_POST(self):
        status, code = self.answer
        body = json.dumps({"error_code": code, "message": "scripted"}).encode() if code else b"<html>proxy</html>"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.mark.parametrize(
    ("answer", "is_outage"),
    [
        ((500, "INTERNAL_ERROR"), True),
        ((502, None), True),
        ((503, "TEMPORARILY_UNAVAILABLE"), True),
        ((429, "REQUEST_LIMIT_EXCEEDED"), True),
        ((401, None), True),
        ((403, "PERMISSION_DENIED"), True),
        ((400, "INVALID_PARAMETER_VALUE"), False),
        ((404, "RESOURCE_DOES_NOT_EXIST"), False),
    ],
)
def test_a_servers_answer_is_an_outage_or_a_refusal(answer, is_outage, monkeypatch):
    """An outage is waited for; what is refused would be refused again."""
    from mlflow.exceptions import MlflowException

    monkeypatch.setattr(Answering, "answer", answer)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        with pytest.raises(MlflowException) as caught:
            connect(f"http://127.0.0.1:{server.server_port}").create_run("1")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert is_unavailable(caught.value) is is_outage


def test_a_request_that_was_slow_is_not_sent_again(set_env):
    """A stalled server would execute every copy of the request and create as many runs."""
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
        with pytest.raises(Exception, match="timed out") as caught:
            connect(f"http://127.0.0.1:{server.server_port}").create_run("1")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert len(received) == 1
    assert is_unavailable(caught.value)
