"""
The pages for people: complete without JavaScript, and harmless whatever stands in the store.
"""

from __future__ import annotations

import html
import re

import httpx
import pytest

import coatcheck

pytestmark = pytest.mark.server

HOSTILE = "<script>alert(1)</script>\"'\x1b[31m\ud800"


def page(client: httpx.Client, path: str) -> str:
    answer = client.get(path)
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    return answer.text


def test_the_list(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Tasks with state, name and worker, the numbers by state, and a link to the rest; no values.
    """
    for number in range(3):
        results.store_result(f"t{number}", "the value", name="report")
    results.mark_as_failure("t3", ValueError("no"))

    everything = page(client, "/")
    failed = page(client, "/?state=FAILURE&name=")
    first = page(client, "/?limit=2&sort=id")
    (more,) = re.findall(r'<a rel="next" href="([^"]+)"', first)
    second = page(client, f"/{html.unescape(more)}")

    ids = [re.findall(r'href="/view/(t\d)"', text) for text in (everything, failed, first, second)]
    assert ["t0", "t1", "t2", "t3"] == sorted(ids[0])
    assert ["t3"] == ids[1]
    assert ["t0", "t1", "t2", "t3"] == sorted(ids[2] + ids[3])
    assert "report" in everything
    assert "the value" not in everything


def test_a_task_that_runs(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Its progress, its worker, its events, and where the script finds what comes next.
    """
    with results.running("a/b", worker="w1") as task:
        task.progress(3, 4)
        task.emit("half way", kind="note")
        text = page(client, "/view/a%2Fb")

    assert '<progress max="4" value="3">' in text
    assert "w1" in text
    assert "half way" in text
    assert 'data-events="/tasks/a%2Fb/events"' in text


def test_a_value_is_shown_when_it_is_opened(
    client: httpx.Client, results: coatcheck.Results
) -> None:
    """
    Values are cut, and what looks like a secret is masked.
    """
    value = {"rows": list(range(1000)), "password": "hunter2", "text": "x" * 10_000}
    results.store_result("t", value)

    closed, opened = page(client, "/view/t"), page(client, "/view/t?value=1")

    assert "1,000 items" not in closed
    assert "1,000 items" in opened
    assert "800 more" in opened
    assert "hunter2" not in opened
    assert "x" * 6000 not in opened


def test_a_failure(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Type, message, cause and traceback.
    """
    with pytest.raises(RuntimeError), results.running("t"):
        try:
            raise ValueError("the cause")
        except ValueError as error:
            raise RuntimeError("the failure") from error

    text = page(client, "/view/t")

    assert all(each in text for each in ("RuntimeError", "the failure", "the cause", "Traceback"))
    assert "data-refresh" not in text  # it is over


def test_stored_text_is_never_html(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    Neither ids, names and workers nor values, failures and events become part of the page.
    """
    with results.running("bad", name=HOSTILE, worker=HOSTILE) as task:
        task.emit(HOSTILE, kind="n")
        task.progress(HOSTILE, HOSTILE)
        texts = [page(client, "/"), page(client, "/view/bad")]
        task.result = {HOSTILE: [HOSTILE]}
    results.mark_as_failure("worse", ValueError(HOSTILE), traceback=HOSTILE)
    results.store_result(HOSTILE.replace("\ud800", ""), 1)
    texts += [
        page(client, path)
        for path in ("/", "/view/bad?value=1", "/view/worse", "/view/%3Cscript%3E")
    ]

    for text in texts:
        assert "<script>alert" not in text
        assert "\"'" not in text.replace("default-src", "")
    assert 200 == client.get("/tasks/bad").status_code
    assert 200 == client.get("/tasks/worse").status_code


def test_an_unknown_task(client: httpx.Client, results: coatcheck.Results) -> None:
    """
    404 with a page that says so.
    """
    answer = client.get("/view/nobody")

    assert 404 == answer.status_code
    assert "Nothing is known" in answer.text


def test_its_own_files(client: httpx.Client) -> None:
    """
    The script and the style are served from the gateway itself.
    """
    for name in re.findall(r'(?:src|href)="(/static/[^"]+)"', page(client, "/")):
        assert 200 == client.get(name).status_code
