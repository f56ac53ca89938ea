"""Guard of MLflow's web application: every request needs a token, and by default none can change anything.

The loopback address is open to every user of the machine, and MLflow has no login without a database of accounts.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

HEALTH_PATH = "/health"
READING_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
READING_POSTS = frozenset(
    {
        "/graphql",  # its only mutations are two searches and an echo
        "/ajax-api/2.0/mlflow/artifacts/presigned-download-url",
        "/ajax-api/2.0/mlflow/experiments/search",
        "/ajax-api/2.0/mlflow/experiments/search-datasets",
        "/ajax-api/2.0/mlflow/logged-models/search",
        "/ajax-api/2.0/mlflow/registered-models/get-latest-versions",
        "/ajax-api/2.0/mlflow/runs/search",
        "/ajax-api/3.0/mlflow/datasets/search",
        "/ajax-api/3.0/mlflow/issues/search",
        "/ajax-api/3.0/mlflow/traces/batchGetInfos",
        "/ajax-api/3.0/mlflow/traces/calculate-filter-correlation",
        "/ajax-api/3.0/mlflow/traces/metrics",
        "/ajax-api/3.0/mlflow/traces/search",
    }
)
"""Paths at which MLflow's pages read with POST. Requests to other addresses at the same paths are refused."""

_ASSISTANT = "/ajax-api/3.0/mlflow/assistant"  # runs commands on this machine

_NO_LINK = "this page needs the link that `embsweep ui` has printed, with its token; start it again for a new one"
_FOREIGN = "a page of another address may not send requests here"
_READ_ONLY = (
    "{method} {path} is refused: this interface only reads. `embsweep promote NAME` and `embsweep rollback NAME` move "
    "the alias champion; `embsweep ui --write` allows changes in the browser"
)


@dataclass(frozen=True)
class Guard:
    """ASGI application that passes the permitted requests on to `app`, and refuses the others with status 403.

    The link `/?token=…` sets a cookie, which scripts of a page cannot read, and leads to the page without the token.
    The name of the cookie has the `port`, because browsers send a cookie to every port of a host.
    """

    app: Application
    token: str
    port: int
    writes: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "lifespan" or (scope["type"] == "http" and scope["path"] == HEALTH_PATH):
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        elif self._is_link(scope):
            cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            await _respond(send, 303, {"location": "/", "set-cookie": cookie, "referrer-policy": "no-referrer"})
        elif (reason := self.find_refusal(scope)) is not None:
            body = json.dumps({"error_code": "PERMISSION_DENIED", "message": reason}).encode()
            await _respond(send, 403, {"content-type": "application/json"}, body)
        else:
            await self.app(scope, receive, send)

    @property
    def cookie(self) -> str:
        """Name of the cookie."""
        return cookie_name(self.port)

    def find_refusal(self, scope: Scope) -> str | None:
        """Return why an HTTP request is refused; None if it is permitted."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method, path = scope["method"], scope["path"]
        cookies = _list_cookies(headers.get("cookie", ""))
        if not any(name == self.cookie and self._is_token(value) for name, value in cookies):
            return _NO_LINK
        if headers.get("origin") not in (None, f"http://{headers.get('host')}"):
            return _FOREIGN
        reads = method in READING_METHODS or (method == "POST" and path in READING_POSTS)
        if not reads and (not self.writes or path.startswith(_ASSISTANT)):
            return _READ_ONLY.format(method=method, path=path)
        return None

    def _is_link(self, scope: Scope) -> bool:
        if scope["method"] != "GET" or scope["path"] != "/":
            return False
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])
        return self._is_token(given[0])

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())


def cookie_name(port: int) -> str:
    """Return the name of the cookie of the guard at a port."""
    return f"embsweep-ui-{port}"


def _list_cookies(header: str) -> list[tuple[str, str]]:
    """Return the names and values of all cookies; those of other programs on this host may have any form."""
    parts = (part.partition("=") for part in header.split(";"))
    return [(name.strip(), value.strip()) for name, _, value in parts]


async def _respond(send: Send, status: int, headers: dict[str, str], body: bytes = b"") -> None:
    listed = {**headers, "content-length": str(len(body)), "cache-control": "no-store"}
    encoded = [(name.encode(), value.encode()) for name, value in listed.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
