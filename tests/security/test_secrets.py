"""Secrets of the environment and of `tracking.uri` reach no file of a sweep and no line of its output."""

import base64
import http.server
import json
import logging
import re
import shlex
import threading
import time
from urllib.parse import quote

import pytest

from embsweep.core.errors import Diagnostic, EmbsweepError, InputError
from embsweep.core.redaction import RedactingFormatter, redact

PASSWORD = "S3CRET-in-the-uri/#1"
SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "S3CRET-of-mlflow",
    "HF_TOKEN": "S3CRET-of-the-hub",
    "AWS_SECRET_ACCESS_KEY": "S3CRET+of/aws",
    "RAY_AUTH_TOKEN": "S3CRET-of-ray-0123456789abcdef",
    "MY_DATABASE_PASSWORD": "S3CRET-of-mine",
}


@pytest.fixture
def secrets(set_env):
    set_env(**SECRETS)
    return SECRETS


def traces(folder):
    """Return the name of every file below `folder` that contains a secret, with the text around it."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            found += [(path.name, path.read_bytes()[max(m.start() - 60, 0) : m.end() + 20]) for m in _find(path)]
    return found


def _find(path):
    return re.finditer(rb"S3CRET", path.read_bytes())


@pytest.fixture
def failing(monkeypatch, secrets):
    """Make trial 1 fail with every secret in its exception, cause and log line."""
    from embsweep.sweep import context
    from embsweep.training.trial import run_trial as original

    output = " and ".join(f"{name} is {value}" for name, value in secrets.items())
    output += f" at postgresql://ann:{quote(PASSWORD, safe='')}@db.example.com/x"

    def run(job, reporter, *args, **kwargs):
        if job.number == 1:
            logging.getLogger("embsweep.test").warning("about to fail: %s", output)
            try:
                raise OSError(output)  # noqa: TRY301
            except OSError as error:
                logging.getLogger("embsweep.test").exception("failed")
                raise RuntimeError(f"no connection: {output}") from error
        return original(job, reporter, *args, **kwargs)

    monkeypatch.setattr(context, "run_trial", run)


@pytest.mark.slow
def test_a_failing_trial_leaks_no_secret(launch_in, tmp_path, failing, capfd):
    _, output = launch_in(tmp_path, "sweep.name=quiet", "search.trials=2", "sweep.max_failed_trials=1")
    output += "".join(capfd.readouterr())
    assert "trial 1" in output and "failed" in output, output
    assert "S3CRET" not in output
    assert traces(tmp_path) == []
    kept = (tmp_path / "sweeps/quiet/study.db").read_bytes() + (tmp_path / "sweeps/quiet/log.txt").read_bytes()
    assert kept.count(b"no connection") >= 2, "the reason itself is kept"


class _Refusing(http.server.BaseHTTPRequestHandler):
    """A server whose error response contains the credentials that it received."""

    def do_GET(self):
        credentials = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ") or b"").decode()
        body = f'{{"error_code": "INTERNAL_ERROR", "message": "refused {credentials}"}}'.encode()
        self.send_response(500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_): ...


@pytest.mark.slow
def test_a_server_that_returns_the_password_in_its_error(launch_in, tmp_path, secrets, capfd, set_env):
    set_env(MLFLOW_TRACKING_USERNAME="ann", MLFLOW_HTTP_REQUEST_MAX_RETRIES="0")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    uri = f"http://ann:{quote(PASSWORD, safe='')}@127.0.0.1:{server.server_address[1]}"
    try:
        with pytest.raises(EmbsweepError) as caught:
            launch_in(tmp_path, "sweep.name=quiet", f"tracking.uri='{uri}'")
    finally:
        server.shutdown()
    output = str(caught.value) + "".join(capfd.readouterr())
    assert "S3CRET" not in output, output
    assert traces(tmp_path) == []


@pytest.mark.slow
def test_a_sweep_with_an_unreachable_server_stores_no_password(launch_in, tmp_path, secrets, capfd, monkeypatch):
    from embsweep.tracking import sync

    monkeypatch.setattr(sync, "FLUSH_TIMEOUT_S", 1.0)
    uri = f"http://ann:{quote(PASSWORD, safe='')}@127.0.0.1:9"
    with pytest.raises(EmbsweepError) as caught:
        launch_in(tmp_path, "sweep.name=quiet", f"tracking.uri='{uri}'", "tracking.must_answer=false")
    output = str(caught.value) + "".join(capfd.readouterr())
    assert "S3CRET" not in output, output
    assert (tmp_path / "sweeps/quiet/study.db").is_file()
    assert traces(tmp_path) == []


def test_the_resume_command_is_shown_without_the_password(monkeypatch):
    from embsweep.cli import main

    monkeypatch.setattr("sys.argv", ["run_sweep.py", f"tracking.uri=http://ann:{PASSWORD}@mlflow.example.org"])
    assert "S3CRET" not in main._command()


@pytest.mark.parametrize("name", SECRETS)
def test_secret_values_of_the_environment_are_redacted_anywhere(secrets, name):
    for text in (
        secrets[name],
        f"x={secrets[name]}&y=1",
        f"at {quote(secrets[name], safe='')}.",
        repr([secrets[name]]),
    ):
        assert "S3CRET" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Basic YW5uOlMzQ1JFVC1S", "authorization: Bearer S3CRET-0123456789", "auth_token=S3CRETxx",
        "postgresql://ann:S3@with/CRET-S3CRET@db/x", "see http://u:S3'S3CRET@h now", "pg://ann:1234/S3CRET@h",
        "http://mlflow.org:5000/,http://u:S3CRET@h", "https://x.org/a?X-Amz-Signature=S3CRET",
        "password='a S3CRET'",
        "'HF_TOKEN': 'S3CRETxx'", "http://ann:S3CRET%2F@host/x", "api-key: S3CRETxx", "?sig=S3CRETxx&x=1",
        "http://127.0.0.1:9/?x=1&key=S3CRETxx", "https://x.org/cb?code=S3CRETxx&state=1", "?pwd=S3CRETxx",
    ],
)  # fmt: skip
def test_common_forms_of_secrets_are_redacted(text):
    assert "S3CRET" not in redact(text) and "YW5u" not in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "bos_token: <s>",
        "tokens: 512",
        "TOKENIZERS_PARALLELISM=false",
        "basic auth",
        "a basic question",
        "basic configurations",
        "Bearer confirmations",
        "bearer of news",
    ],
)
def test_other_text_is_not_redacted(text):
    assert redact(text) == text


@pytest.mark.parametrize("uri", ["http://127.0.0.1:5000/a@b", "http://ml.example.org:80/#/a@b", "https://x.org/@ann"])
def test_a_uri_without_credentials_is_not_redacted(uri):
    assert redact(uri) == uri


QUOTED = "S3CRET'of\\\"mine" + "-S3CRET" * 40
"""A secret with quotes, longer than the part of a value that a message shows."""


@pytest.mark.parametrize(
    "diagnostic",
    [
        Diagnostic("unknown-key", "tracking.urii", "unknown key", f"'postgresql://ann:{'S3CRET' * 40}@db/x'"),
        Diagnostic("bad-name", "sweep.name", "is too long", QUOTED),
        Diagnostic("bad-name", "sweep.name", "is too long", ["a", {"b": (QUOTED,)}]),
        Diagnostic("bad-name", "sweep.name", f"cannot be read ({QUOTED!r})", 1, QUOTED, f"set {QUOTED}"),
        Diagnostic("bad-name", "sweep.name", "x" * 900 + QUOTED),
    ],
)
def test_secrets_are_redacted_before_a_diagnostic_is_shortened(set_env, diagnostic):
    set_env(MY_TOKEN=QUOTED)
    assert "S3CRET" not in str(diagnostic)
    assert "S3CRET" not in str(InputError(diagnostic))


def test_secrets_quoted_for_a_shell_are_redacted(set_env):
    set_env(MY_TOKEN=QUOTED)
    assert "S3CRET" not in redact(shlex.join(["run", f"x={QUOTED}"]) + json.dumps({"x": QUOTED}))


@pytest.mark.slow
def test_redaction_of_long_words_takes_linear_time():
    started = time.process_time()
    for text in ("a." * 20_000, "http://" * 5_000, "?x-amz-" * 5_000, "a://" + "b:@" * 10_000):
        redact(text)
    assert time.process_time() - started < 5


def test_short_values_and_paths_are_not_redacted(set_env):
    set_env(X_PASSWORD="the", RAY_AUTH_TOKEN_PATH="/home/ann/token")  # pragma: allowlist secret
    assert redact("the file /home/ann/token") == "the file /home/ann/token"


def test_a_log_record_with_a_traceback_is_redacted(secrets):
    try:
        raise ValueError(secrets["HF_TOKEN"])  # noqa: TRY301
    except ValueError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "value %s", (secrets["RAY_AUTH_TOKEN"],), info)
    output = RedactingFormatter("%(message)s").format(record)
    assert "Traceback" in output and "S3CRET" not in output
