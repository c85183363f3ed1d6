"""
The examples of the how-to pages work: applications behind real servers, queues with real workers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.processes import free_port

import coatcheck

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
PATIENCE = 60


@pytest.fixture
def url(tmp_path, monkeypatch):
    """The URL of an empty store, which is also in the environment."""
    monkeypatch.setenv("COATCHECK_URL", f"sqlite:///{tmp_path}/results.db")
    return os.environ["COATCHECK_URL"]


@pytest.fixture
def results(url):
    with coatcheck.by_url(url) as results:
        yield results


class PrinterError(Exception):
    """An error of the application, which readers see as a TaskError."""


def load(name: str) -> ModuleType:
    """Import an example by its path below docs/examples."""
    path = EXAMPLES / name
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_events(url):
    """A reader follows a worker to the end, and another one goes on in the middle."""
    worker, follow = (str(EXAMPLES / "events" / f"{name}.py") for name in ("worker", "follow"))
    reader = subprocess.Popen([sys.executable, follow, "book"], stdout=subprocess.PIPE, text=True)
    subprocess.run([sys.executable, worker, "book"], check=True, timeout=PATIENCE)
    lines = reader.communicate(timeout=PATIENCE)[0].splitlines()
    command = [sys.executable, follow, "book", "4"]
    rest = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)

    assert [f"{n}" for n in range(1, 9)] == [line.split()[0] for line in lines]
    assert "2 printed {'page': 'cover', 'ink': 0.9}" == lines[1]
    assert "8 SUCCESS 3 pages" == lines[-1]
    assert lines[4:] == rest.stdout.splitlines()


def ask(
    address: str, data: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Any]:
    """Return the status and the JSON of an answer."""
    request = urllib.request.Request(address, data, dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@contextmanager
def serving(command: list[str], directory: Path, port: int) -> Iterator[str]:
    """Run a server until the block ends; yield its address."""
    server = subprocess.Popen([sys.executable, "-m", *command], cwd=directory)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None
            assert time.monotonic() < deadline
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).close()
                break
            except urllib.error.HTTPError as error:  # nothing is there, but it answers
                error.close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def served(kind: str, port: int) -> list[str]:
    """Return the command that serves an example, as its page tells it."""
    return {
        "fastapi": ["uvicorn", "fastapi_app:app", "--port", str(port)],
        "flask": ["flask", "--app", "flask_app", "run", "--port", str(port)],
    }[kind]


@pytest.mark.parametrize("kind", ["fastapi", "flask"])
def test_applications(kind, results):
    """A value, a failure, a running task and an unknown id each have their answer."""
    results.store_result("t1", [5])
    results.mark_as_failure("t2", PrinterError("no paper"))
    results.expect("t3")
    port = free_port()
    with serving(served(kind, port), EXAMPLES / "frameworks", port) as address:
        assert (200, {"status": "done", "value": [5]}) == ask(f"{address}/tasks/t1")
        assert (422, {"status": "failed", "error": "no paper"}) == ask(f"{address}/tasks/t2")
        assert (202, {"status": "running"}) == ask(f"{address}/tasks/t3?wait=0.1")
        status, body = ask(f"{address}/tasks/t4")
    assert 404 == status
    assert "t4" in body["error"]


def test_a_repeated_request(results):
    """A request sent again gets the first answer; its key with another body is refused."""
    port = free_port()
    command = ["uvicorn", "idempotent_app:app", "--port", str(port)]
    with serving(command, EXAMPLES / "frameworks", port) as address:
        url, key = f"{address}/orders", {"Idempotency-Key": "1"}
        answers = [ask(url, b'{"items": [7]}', key) for _ in range(3)]
        status, body = ask(url, b'{"items": [8]}', key)

    assert (200, [7]) == (answers[0][0], answers[0][1]["items"])
    assert [answers[0]] * 3 == answers
    assert 422 == status
    assert "order:1" in body["error"]


def test_django(results):
    """The views of both kinds answer a client of Django's."""
    results.store_result("t1", [5])
    results.expect("t2")
    program = f"""
import asyncio, os, sys
sys.path.insert(0, {str(EXAMPLES / "frameworks")!r})
from django.conf import settings
settings.configure(
    ROOT_URLCONF="django_views", ALLOWED_HOSTS=["*"], COATCHECK_URL=os.environ["COATCHECK_URL"],
)
import django; django.setup()
from django.test import AsyncClient, Client
print(Client().get("/tasks/t1/state").json(), Client().get("/tasks/t3/state").status_code)
async def main():
    for task_id in ("t1", "t2", "t3"):
        answer = await AsyncClient().get(f"/tasks/{{task_id}}")
        print(answer.status_code, answer.json().get("status"))
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=PATIENCE
    )  # fmt: skip

    assert "{'status': 'SUCCESS', 'ready': True} 404\n200 done\n202 running\n404 None\n" == (
        ended.stdout
    ), ended.stderr


def test_web_service(url, tmp_path):
    """The tutorial's service starts work, tells progress, waits, and answers for failures."""
    port = free_port()
    command = ["uvicorn", "app:app", "--port", str(port)]
    with serving(command, EXAMPLES / "web_service", port) as address:
        status, started = ask(f"{address}/counts", b"one two three")
        assert 202 == status
        task = f"{address}/counts/{started['task_id']}"
        assert 202 == ask(f"{task}?wait=0")[0]
        with urllib.request.urlopen(f"{task}/progress", timeout=PATIENCE) as stream:
            events = [json.loads(line[6:]) for line in stream if line.startswith(b"data: ")]
        assert {"status": "SUCCESS", "progress": None} == events[-1]
        assert "PROGRESS" in [event["status"] for event in events]
        assert (200, {"status": "done", "value": {"words": 3}}) == ask(task)

        _, failed = ask(f"{address}/counts", b" ")
        assert 422 == ask(f"{address}/counts/{failed['task_id']}")[0]
        assert 404 == ask(f"{address}/counts/nobody-knows")[0]


def test_asyncio(url):
    """The program says in which order its tasks ended, and leaves no warning."""
    program = EXAMPLES / "frameworks" / "plain_asyncio.py"
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(program)], check=True, capture_output=True, text=True
    )
    lines = ended.stdout.splitlines()

    assert "" == ended.stderr
    assert ["quick SUCCESS", "slow SUCCESS"] == lines[:2]
    assert "endless" in lines[3]
    assert "REVOKED" == lines[4]


def test_function(results):
    """The function stores values and failures, and closes its connections."""
    handler = load("frameworks/function.py").handler

    assert {"task_id": "t1", "stored": True} == handler({"task_id": "t1", "numbers": [1, 2]})
    assert 3 == results.get_result("t1")
    with pytest.raises(TypeError):
        handler({"task_id": "t2", "numbers": None})
    assert results.get_task_meta("t2").failed


def test_the_tests_of_an_application(tmp_path):
    """The example of tests passes, warnings included."""
    tests = EXAMPLES / "frameworks" / "test_shop.py"
    command = [
        "pytest",
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "--rootdir",
        str(tmp_path),
    ]
    ended = subprocess.run(
        [sys.executable, "-m", *command, "-c", os.devnull, str(tests)],
        check=False, capture_output=True, text=True, timeout=PATIENCE, cwd=tmp_path,
    )  # fmt: skip

    assert 0 == ended.returncode, ended.stdout
    assert "5 passed" in ended.stdout


@pytest.mark.parametrize("name", ["apscheduler", "dramatiq", "huey", "taskiq"])
def test_queues(name, url):
    """The program prints a quotient and an error."""
    program = EXAMPLES / "queues" / f"{name}_app.py"
    ended = subprocess.run(
        [sys.executable, str(program)], check=True, capture_output=True, text=True, timeout=PATIENCE
    )

    value, error = ended.stdout.splitlines()
    assert "2.0" == value
    assert "division by zero" in error


def test_three_queues(url):
    """The program prints the outcomes of three queues, in any order."""
    program = EXAMPLES / "queues" / "three_queues.py"
    ended = subprocess.run(
        [sys.executable, str(program)], check=True, capture_output=True, text=True, timeout=PATIENCE
    )

    assert ["Celery 5", "Dramatiq 6", "Taskiq -1"] == sorted(ended.stdout.splitlines())


def test_progress_for_browsers(url):
    """The application of the page about HTTP starts a report, streams its progress, and serves its page."""
    port = free_port()
    command = ["uvicorn", "progress_app:app", "--port", str(port)]
    with serving(command, EXAMPLES / "frameworks", port) as address:
        status, started = ask(f"{address}/reports?rows=3", b"")
        place = address + started["location"]
        with urllib.request.urlopen(f"{place}/events", timeout=PATIENCE) as stream:
            events = [line[7:].strip() for line in stream if line.startswith(b"event: ")]
        outcome = ask(place)
        with urllib.request.urlopen(address) as page:
            html = page.read()

    assert 202 == status
    assert [b"state", b"progress", b"progress", b"progress", b"ready"] == events
    assert (200, {"rows": 3}) == (outcome[0], outcome[1]["result"])
    assert b"EventSource" in html
