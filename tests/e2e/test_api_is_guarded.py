"""With the shipped settings nobody who is not known gets anything from the server, and nobody outside reaches it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import Any

import pytest
from starlette.routing import WebSocketRoute
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.listening import listening, tree
from tests.plugins.production import LOGIN, SECRETS, Production, authorization

# What anybody may ask: whether the server lives. Its own checks and a load balancer's need no more.
OPEN = {("GET", "/api/health"), ("GET", "/api/ready")}
# The UI's own files and the description of the API are the same on every server of the world.
OPEN_PAGES = {"/", "/docs", "/openapi.json", "/redoc", "/ui-settings"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_NOBODY = "00000000-0000-4000-8000-000000000000"
_POLICY_VIOLATION = 1008


Ask = Callable[[str, str], tuple[int, bytes]]
"""Method and path to status and content."""


@contextmanager
def caller(production: Production, login: str | None) -> Iterator[Ask]:
    """Somebody with one connection to the server."""
    headers = {"Content-Type": "application/json", **({"Authorization": authorization(login)} if login else {})}

    def ask(method: str, path: str) -> tuple[int, bytes]:
        connection.request(method, path, b"{}", headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    with closing(http.client.HTTPConnection("127.0.0.1", production.port, timeout=60)) as connection:
        yield ask


@pytest.fixture
def described(production: Production) -> dict[str, Any]:
    """Every path of the API, as the running server describes it."""
    with caller(production, LOGIN) as ask:
        status, content = ask("GET", "/api/openapi.json")
    assert status == 200
    paths: dict[str, Any] = json.loads(content)["paths"]
    return paths


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("login", [None, "rechain:wrong", "rechain:"])
def test_every_route_is_refused(production: Production, described: dict[str, Any], login: str | None) -> None:
    """With every method that HTTP has for it, but for what is open by intent."""
    asked = [(method, path) for path in described for method in METHODS]
    with caller(production, login) as ask:
        answers = {(method, path): ask(method, _concrete(path))[0] for method, path in asked}
    assert len(described) > 140
    answered = {(method, f"/api{path}") for (method, path), status in answers.items() if status != 401}
    assert answered == OPEN


def test_who_is_known_is_answered(production: Production) -> None:
    """So it is the password that the others lack."""
    with caller(production, LOGIN) as ask:
        assert ask("POST", "/api/flow_runs/filter") == (200, b"[]")


def test_the_open_pages_hold_nothing_of_ours(production: Production) -> None:
    """They are the program's own, without a word of runs, of secrets or of the database."""
    with caller(production, None) as ask:
        answers = {page: ask("GET", page) for page in OPEN_PAGES}
    for page, (status, content) in answers.items():
        assert status == 200, page
        assert not [secret for secret in SECRETS if secret.encode() in content], page


@pytest.mark.parametrize("subprotocol", ["prefect", None])
@pytest.mark.parametrize("login", [None, "rechain:wrong"])
def test_every_websocket_is_refused(production: Production, subprotocol: str | None, login: str | None) -> None:
    """Events and logs as they happen, and what workers and task runs wait on."""
    sockets = list(_websockets())
    assert {"/api/events/in", "/api/events/out", "/api/logs/out"} <= set(sockets)
    for path in sockets:
        assert _is_refused(production, path, subprotocol, login), path


def test_the_websocket_of_who_is_known_is_opened(production: Production) -> None:
    """So it is the password that the others lack."""
    assert not _is_refused(production, "/api/events/out", "prefect", LOGIN)


def test_nothing_listens_beyond_loopback(production: Production) -> None:
    """Neither the server, nor the worker, nor a program that they started."""
    of_server, of_worker = (listening(tree(program.pid)) for program in (production.server, production.worker))
    assert (ip_address("127.0.0.1"), production.port) in of_server
    assert {where for where in of_server | of_worker if not where[0].is_loopback} == set()


def test_a_program_that_listens_everywhere_would_be_found() -> None:
    """On every address of either kind."""
    with socket.create_server(("0.0.0.0", 0)) as four, socket.create_server(("::", 0), family=socket.AF_INET6) as six:  # noqa: S104
        ports = {one.getsockname()[1] for one in (four, six)}
        found = listening(tree(os.getpid()))
    assert {port for address, port in found if not address.is_loopback} >= ports


def _concrete(path: str) -> str:
    """A path of the API with something in each place that wants a name or an id."""
    return "/api" + re.sub(r"\{[^}]*\}", _NOBODY, path)


def _websockets() -> Iterator[str]:
    """The path of every websocket that the installed server has."""
    from prefect.server.api.server import API_ROUTERS  # noqa: PLC0415  # the server's import is slow

    for router in API_ROUTERS:
        for route in router.routes:
            if isinstance(route, WebSocketRoute):
                yield _concrete(route.path)


def _is_refused(production: Production, path: str, subprotocol: str | None, login: str | None) -> bool:
    """Whether the server closes before it says anything."""
    protocols = [Subprotocol(subprotocol)] if subprotocol else None
    try:
        with connect(f"ws://127.0.0.1:{production.port}{path}", subprotocols=protocols, open_timeout=30) as opened:
            opened.send(json.dumps({"type": "auth", "token": login}))
            opened.recv(timeout=30)
            return False
    except InvalidStatus as error:
        return error.response.status_code == 403
    except ConnectionClosed as error:
        return error.rcvd is not None and error.rcvd.code == _POLICY_VIOLATION
