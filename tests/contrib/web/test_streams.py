"""
Server-sent events, with a real server, a real store and clients that are cut off.
"""

from __future__ import annotations

import random
import threading

import httpx
import pytest
from support.gateway import Gateway, read_events

import coatcheck

pytestmark = pytest.mark.server


def test_events_come_as_they_happen(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Progress, what the task emits, and at the end the ready record; then the stream ends.
    """
    with client.stream("GET", "/tasks/t/events") as response:
        stream = read_events(response)
        with results.running("t", worker="w1") as task:
            task.progress(1, 2)
            first = [next(stream), next(stream)]
            task.emit({"rows": 10}, kind="rows")
            rows = next(stream)
            task.result = "done"
        rest = list(stream)

    assert ["state", "progress"] == [event.event for event in first]
    assert ("rows", {"rows": 10}) == (rows.event, rows.json["data"])
    assert ("ready", "done") == (rest[-1].event, rest[-1].json["task"]["result"])
    assert "no" == response.headers["x-accel-buffering"]
    assert response.headers["content-type"].startswith("text/event-stream")


def test_a_browser_that_is_cut_off(gateway: Gateway, results: coatcheck.Results) -> None:
    """
    300 events, the connection cut at random places: each comes once, in order, and the end too.
    """
    count, dice = 300, random.Random(7)

    def work() -> None:
        with results.running("t") as task:
            for number in range(count):
                task.emit(number, kind="n")

    worker = threading.Thread(target=work)
    worker.start()
    seen: list[str] = []
    values: list[int] = []
    cuts = 0
    with gateway.client() as client:
        while True:
            headers = {"Last-Event-ID": seen[-1]} if seen else {}
            with client.stream("GET", "/tasks/t/events", headers=headers) as response:
                if response.status_code == 204:
                    break
                left = dice.randrange(1, 30)
                for event in read_events(response):
                    seen.append(event.id)
                    if event.event == "n":
                        values.append(event.json["data"])
                    left -= 1
                    if not left:
                        cuts += 1
                        break
    worker.join()

    assert list(range(count)) == values
    assert [str(n) for n in range(1, len(seen) + 1)] == seen
    assert cuts > 5


def test_who_comes_late_hears_of_the_end(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    The ready record arrives also if the task ended before; whoever saw it gets 204, and stops asking.
    """
    results.store_result("t", 1)

    with client.stream("GET", "/tasks/t/events") as response:
        events = list(read_events(response))
    after = client.get("/tasks/t/events", headers={"Last-Event-ID": events[-1].id})

    assert ["ready"] == [event.event for event in events]
    assert 204 == after.status_code


def test_streams_are_limited(gateway: Gateway, results: coatcheck.Results) -> None:
    """
    A client has a bounded number of streams; one that it closes makes room.
    """
    results.mark_as_started("t")
    with gateway.client() as client:
        opened = []
        for _ in range(20):
            request = client.build_request("GET", "/tasks/t/events")
            opened.append(client.send(request, stream=True))
        refused = client.get("/tasks/t/events")
        results.store_result("t", 1)
        for response in opened:
            assert "ready" == list(read_events(response))[-1].event
            response.close()

        assert 429 == refused.status_code
        assert 200 == client.get("/tasks/t/events").status_code
