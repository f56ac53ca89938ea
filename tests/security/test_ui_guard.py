"""Requests that the guard of `embsweep ui` refuses; tests/security/test_loopback.py sends some to a real server."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from embsweep.tracking.ui_guard import READING_POSTS, Guard

TOKEN, HOST = "only-for-tests", b"127.0.0.1:5000"
COOKIE = f"other={{}}; embsweep-ui-5000={TOKEN}"
ALIAS = "/api/2.0/mlflow/registered-models/alias"


def send(path="/", method="GET", *, cookie=COOKIE, query="", writes=False, kind="http", **headers):
    """Return status and headers of the response; 200 is MLflow's."""
    sent = []

    async def answer(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def collect(message):
        sent.append(message)

    listed = {"host": HOST, "cookie": cookie.encode(), **{name: value.encode() for name, value in headers.items()}}
    scope = {
        "type": kind, "method": method, "path": path, "query_string": query.encode(),
        "headers": [(name.encode(), value) for name, value in listed.items()],
    }  # fmt: skip
    with ThreadPoolExecutor(1) as thread:  # the browser's tests leave an event loop in the main thread
        thread.submit(asyncio.run, Guard(answer, TOKEN, 5000, writes)(scope, None, collect)).result()
    return sent[0].get("status"), dict(sent[0].get("headers", ())), sent[-1].get("body", b"").decode()


def test_the_link_sets_a_cookie_that_other_sites_cannot_use_and_leads_to_a_page_without_the_token():
    status, headers, _ = send(cookie="", query=f"token={TOKEN}")
    assert (status, headers[b"location"], headers[b"cache-control"]) == (303, b"/", b"no-store")
    assert headers[b"set-cookie"].decode() == f"embsweep-ui-5000={TOKEN}; Path=/; HttpOnly; SameSite=Strict"


@pytest.mark.parametrize("cookie", ["", "embsweep-ui-5000=", "embsweep-ui-5000=wrong", f"embsweep-ui-1={TOKEN}"])
@pytest.mark.parametrize("path", ["/", "/graphql", "/health/", "/ajax-api/2.0/mlflow/runs/get", ALIAS])
def test_without_the_token_nothing_is_read(cookie, path):
    status, _, body = send(path, cookie=cookie, writes=True)
    assert status == 403
    assert "embsweep ui" in body


def test_a_wrong_token_in_the_link_is_refused():
    assert send(cookie="", query="token=wrong")[0] == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", ALIAS),
        ("POST", "/ajax-api/2.0/mlflow/runs/create"),
        ("POST", "/ajax-api/2.0/mlflow/runs/search/"),
        ("POST", "//ajax-api/2.0/mlflow/runs/search"),
        ("PUT", "/api/2.0/mlflow-artifacts/artifacts/x"),
        ("PUT", "/ajax-api/2.0/mlflow/runs/search"),
        ("DELETE", ALIAS),
        ("PATCH", "/api/2.0/mlflow/model-versions/update"),
        ("TRACE", "/"),
        ("post", "/"),
    ],
)
def test_only_listed_requests_read(method, path):
    status, _, body = send(path, method)
    assert status == 403
    assert "embsweep promote" in body and "--write" in body
    assert send(path, method, writes=True)[0] == 200


@pytest.mark.parametrize("path", sorted(READING_POSTS))
def test_searches_of_the_pages_are_permitted(path):
    assert send(path, "POST")[0] == 200


def test_the_assistant_runs_no_commands_even_if_changes_are_allowed():
    assert send("/ajax-api/3.0/mlflow/assistant/message", "POST", writes=True)[0] == 403


@pytest.mark.parametrize("origin", ["http://127.0.0.1:6000", "https://evil.example", "null", "http://localhost:5000"])
def test_pages_of_other_addresses_send_nothing(origin):
    assert send(ALIAS, "POST", origin=origin, writes=True)[0] == 403
    assert send("/ajax-api/2.0/mlflow/runs/get", origin=origin)[0] == 403


def test_the_own_page_is_permitted():
    assert send("/graphql", "POST", origin="http://127.0.0.1:5000")[0] == 200


def test_a_websocket_is_closed():
    assert send(kind="websocket")[0] is None
