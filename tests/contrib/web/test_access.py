"""
Who may use the gateway.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import HTTPConnection
from support.cli import CommandLine
from support.gateway import ask, running_gateway

from coatcheck import aio
from coatcheck_web import gateway


def app(**options: Any) -> Any:
    return gateway(aio.by_url("memory://access"), **options)


@pytest.mark.parametrize(
    ("host", "name", "status"),
    [
        ("127.0.0.1", "localhost", 200),
        ("127.0.0.1", "127.0.0.1:8765", 200),
        ("::1", "[::1]:8765", 200),
        ("192.0.2.1", "localhost", 403),
        ("127.0.0.1", "rebound.example", 403),
        ("testclient", "localhost", 403),
    ],
)
def test_without_a_token_only_this_machine(host: str, name: str, status: int) -> None:
    """
    Neither another machine nor a page that points its own name here is served.
    """
    assert status == ask(app(), "GET", "/tasks", client=host, host=name).status_code


def test_a_token_opens_it() -> None:
    """
    With a token everybody needs it, and whoever sends it is served.
    """
    opened = app(token="t0ps3cret")
    password = base64.b64encode(b"any:t0ps3cret").decode()
    sent = ["Bearer t0ps3cre", "Basic !", "Bearer t0ps3cret", f"Basic {password}"]
    headers = [{}, *({"Authorization": each} for each in sent)]

    answers = [
        ask(opened, "GET", "/tasks", client="192.0.2.1", host="tasks.example", headers=each)
        for each in headers
    ]

    assert [401, 401, 401, 200, 200] == [answer.status_code for answer in answers]
    assert answers[0].headers["www-authenticate"].startswith("Basic")


def test_the_application_decides() -> None:
    """
    `authorize` stands in for the token, and sees the request.
    """

    def allowed(request: HTTPConnection) -> bool:
        return request.headers.get("x-user") == "ada"

    opened = app(authorize=allowed)

    for headers, status in (({}, 403), ({"X-User": "ada"}, 200)):
        answer = ask(opened, "GET", "/tasks", client="192.0.2.1", headers=headers)
        assert status == answer.status_code


@pytest.mark.parametrize(
    ("origin", "status"), [("http://evil.example", 403), ("http://localhost", 404)]
)
def test_other_sites_change_nothing(origin: str, status: int) -> None:
    """
    A page of another site cannot have a browser on this machine delete a record.
    """
    answer = ask(app(writable=True), "DELETE", "/tasks/t", headers={"Origin": origin})

    assert status == answer.status_code


def test_browsers_make_nothing_of_an_answer() -> None:
    """
    Stored text is never HTML, also where a browser would guess.
    """
    headers = ask(app(), "GET", "/tasks/<script>").headers

    assert "application/json" == headers["content-type"]
    assert "nosniff" == headers["x-content-type-options"]
    assert "default-src 'none'" in headers["content-security-policy"]


def test_other_machines_only_with_a_token(tmp_path: Path) -> None:
    """
    `coatcheck serve` does not listen where others come in, unless they need a token.
    """
    done = CommandLine(tmp_path)("serve", "--host", "0.0.0.0")

    assert 2 == done.returncode
    assert "COATCHECK_TOKEN" in done.stderr


@pytest.mark.server
def test_no_secret_in_the_log(tmp_path: Path) -> None:
    """
    The log of `coatcheck serve` has neither the token nor ids nor values.
    """
    store = f"sqlite:///{tmp_path}/results.db"
    with running_gateway(store, tmp_path, token="t0ps3cret") as gateway, gateway.client() as asking:
        headers = {"Authorization": "Bearer t0ps3cret"}
        assert 404 == asking.get("/tasks/some-id", headers=headers).status_code
        assert 401 == asking.get("/tasks/some-id?token=t0ps3cret").status_code

    log = gateway.log.read_text()
    assert "t0ps3cret" not in log
    assert "some-id" not in log
