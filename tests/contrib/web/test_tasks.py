"""
The routes of tasks, with a real server, a real store and a real client.
"""

from __future__ import annotations

import json
import threading

import httpx
import pytest
from support.gateway import ask

import coatcheck
from coatcheck import aio
from coatcheck_web import accepted, gateway

pytestmark = pytest.mark.server


def test_the_life_of_a_task(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    404 before anything is known, 202 while it runs, 200 when it is over; one shape for all.
    """
    assert 404 == client.get("/tasks/t").status_code

    results.expect("t")
    expected = client.get("/tasks/t")
    with results.running("t", worker="w1") as task:
        task.progress(1, 4)
        running = client.get("/tasks/t")
        task.result = {"rows": [1, None]}
    done = client.get("/tasks/t")

    assert [202, 202, 200] == [answer.status_code for answer in (expected, running, done)]
    assert ["PENDING", "PROGRESS", "SUCCESS"] == [
        a.json()["status"] for a in (expected, running, done)
    ]
    assert "2" == running.headers["retry-after"]
    assert ({"rows": [1, None]}, "w1") == (done.json()["result"], done.json()["worker"])


def test_a_failure_is_an_answer(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    A failure has its type, message and traceback; no exception is raised in the gateway.
    """
    with pytest.raises(ValueError, match="seven"), results.running("t"):
        raise ValueError("seven")

    task = client.get("/tasks/t").json()

    assert ("FAILURE", "builtins.ValueError", "seven") == (
        task["status"],
        task["failure"]["type"],
        task["failure"]["message"],
    )
    assert "in test_a_failure" in task["traceback"]


def test_what_was_seen_is_not_sent_again(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    304 for the ETag of an answer, until the record changes; a heartbeat alone is no change.
    """
    with results.running("t", heartbeat=0.01) as task:
        task.progress(1, 2)
        seen = client.get("/tasks/t").headers["etag"]
        first = results.get_task_meta("t").heartbeat
        while results.get_task_meta("t").heartbeat == first:
            pass
        again = client.get("/tasks/t", headers={"If-None-Match": seen})
        task.progress(2, 2)
        changed = client.get("/tasks/t", headers={"If-None-Match": seen})

    assert (304, b"") == (again.status_code, again.content)
    assert (202, False) == (changed.status_code, seen == changed.headers["etag"])


@pytest.mark.parametrize("seen", [False, True], ids=["until it is over", "until it changes"])
def test_waits(client: httpx.Client, results: coatcheck.Results, seen: bool) -> None:
    """
    `?wait=` answers when the task is over, or when it is no longer what the client saw.
    """
    results.mark_as_started("t")
    headers = {"If-None-Match": client.get("/tasks/t").headers["etag"]} if seen else {}
    answers: list[httpx.Response] = []

    def ask() -> None:
        answers.append(client.get("/tasks/t", params={"wait": 20}, headers=headers))

    waiting = threading.Thread(target=ask)
    waiting.start()
    results.store_result("t", 1, "PROGRESS") if seen else results.store_result("t", 1)
    waiting.join()

    expected = (202, "PROGRESS") if seen else (200, "SUCCESS")
    assert expected == (answers[0].status_code, answers[0].json()["status"])


def test_a_wait_ends(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    A wait whose time is up answers with what is there: 202, or 304 if the client has seen it.
    """
    results.mark_as_started("t")

    first = client.get("/tasks/t?wait=0.05")
    second = client.get("/tasks/t?wait=0.05", headers={"If-None-Match": first.headers["etag"]})
    unknown = client.get("/tasks/nobody?wait=0.05")

    assert [202, 304, 404] == [a.status_code for a in (first, second, unknown)]


def test_every_id_works(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Ids may hold slashes, spaces and letters of any alphabet; `accepted` leads to them.
    """
    for task_id in ("a/b", "a b?c", "\u00e9\U0001f600", "a%2Fb", "events"):
        results.store_result(task_id, task_id)
        location = accepted(task_id).headers["location"]
        assert task_id == client.get(location).json()["result"]


def test_pages(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Tasks are listed by filters, a page at a time, and without their values.
    """
    for number in range(5):
        results.store_result(f"t{number}", "secret", name="job" if number % 2 else "other")

    page = client.get("/tasks", params={"sort": "id", "limit": 3}).json()
    rest = client.get("/tasks", params={"sort": "id", "limit": 3, "after": page["cursor"]}).json()
    jobs = client.get("/tasks", params={"name": "job", "state": "SUCCESS"}).json()

    assert [f"t{n}" for n in range(5)] == sorted(
        t["task_id"] for t in page["tasks"] + rest["tasks"]
    )
    assert ["t1", "t3"] == sorted(task["task_id"] for task in jobs["tasks"])
    assert "secret" not in json.dumps([page, rest, jobs])


@pytest.mark.parametrize(
    "path",
    [
        "/tasks?limit=0", "/tasks?limit=x", "/tasks?since=yesterday", "/tasks?nmae=x", "/tasks?sort=up",
        "/tasks/t?wait=-1", "/tasks/t?wait=nan", "/tasks/t/events?after=-1", "/tasks?after=x",
    ],
)  # fmt: skip
def test_mistakes_are_explained(
    client: httpx.Client, results: coatcheck.Results, path: str
) -> None:
    """
    A parameter that cannot be used is a 400 that names it.
    """
    results.store_result("t", 1)

    answer = client.get(path)

    assert 400 == answer.status_code
    assert answer.json()["error"]


def test_changes(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    A writable gateway revokes and forgets; a task that is over stays as it is.
    """
    results.mark_as_started("t")

    revoked = client.post("/tasks/t/revoke", params={"reason": "too late"})
    again = client.post("/tasks/t/revoke")
    forgotten = [client.delete("/tasks/t").status_code for _ in range(2)]

    assert [200, 409] == [revoked.status_code, again.status_code]
    assert "REVOKED" == revoked.json()["status"]
    assert [204, 404] == forgotten


def test_read_only_unless_asked() -> None:
    """
    Without `writable` nothing can be changed, and the description offers nothing of it.
    """
    app = gateway(aio.by_url("memory://read-only"))

    answers = [ask(app, "DELETE", "/tasks/t"), ask(app, "POST", "/tasks/t/revoke")]
    paths = ask(app, "GET", "/openapi.json").json()["paths"]

    assert [405, 405] == [answer.status_code for answer in answers]
    assert {"/tasks", "/tasks/{task_id}", "/tasks/{task_id}/events"} == set(paths)
    assert ["get"] == list(paths["/tasks/{task_id}"])


def test_a_store_that_cannot_list() -> None:
    """
    A store without the capability is a 501 that says so.
    """
    app = gateway(aio.by_url("disabled://"))

    answers = [ask(app, "GET", path) for path in ("/tasks", "/tasks/t/events")]

    assert [501, 501] == [answer.status_code for answer in answers]
    assert "SCAN" in answers[0].json()["error"]


def test_a_store_that_is_away() -> None:
    """
    503, and when to ask again; neither the store's address nor its password is told.
    """
    results = aio.by_url("redis://:hunter2@127.0.0.1:1/0", operation_timeout=0.2)

    answer = ask(gateway(results), "GET", "/tasks/t")

    assert (503, "2") == (answer.status_code, answer.headers["retry-after"])
    assert "hunter2" not in answer.text
