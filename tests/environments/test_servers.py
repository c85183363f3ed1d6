"""
Web servers that fork their workers, with and without Python's hooks, under load on all stores.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.processes import free_port

from coatcheck.testing.threads import until

pytestmark = pytest.mark.environments

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
UWSGI = [
    "uwsgi",
    "--need-app",
    "--die-on-term",
    "--http-socket",
    "{address}",
    "--wsgi-file",
    "web.py",
    "--master",
]
GUNICORN = ["gunicorn", "--bind", "{address}", "--workers", "3", "--no-control-socket"]
SERVERS = {
    "uwsgi": [*UWSGI, "--processes", "3"],
    "uwsgi-threads": [*UWSGI, "--processes", "2", "--threads", "4", "--enable-threads"],
    "uwsgi-hooks": [*UWSGI, "--processes", "2", "--py-call-osafterfork", "--enable-threads"],
    "uwsgi-lazy": [*UWSGI, "--processes", "2", "--enable-threads", "--lazy-apps"],
    "gunicorn-sync": [*GUNICORN, "--preload", "web:application"],
    "gunicorn-gthread": [*GUNICORN, "--preload", "-k", "gthread", "--threads", "4", "web:application"],
    "gunicorn-gevent": [*GUNICORN, "-k", "gevent", "web:application"],
    "gunicorn-uvicorn": [
        *GUNICORN, "--preload", "-k", "uvicorn_worker.UvicornH11Worker", "web:asgi",
    ],
    "gunicorn-uvloop": [*GUNICORN, "-k", "uvicorn_worker.UvicornWorker", "web:asgi"],
}  # fmt: skip
REQUESTS = 6
AT_ONCE = 6


@pytest.fixture(params=SERVERS)
def address(request, urls, tmp_path):
    """The address of a server."""
    place = f"127.0.0.1:{free_port()}"
    command = [part.format(address=place) for part in SERVERS[request.param]]
    log = tmp_path / "log"
    environment = {
        **os.environ,
        "COATCHECK_URLS": json.dumps(urls),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "PYTHONFAULTHANDLER": "1",
        "VIRTUAL_ENV": str(BIN.parent),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [BIN / command[0], *command[1:]],
            cwd=HERE, env=environment, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(place, process, log)
        yield place
    finally:
        # Workers end by themselves: none of them waits for a thread that the fork did not copy.
        process.terminate()
        try:
            process.wait(60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(place, process, log):
    """Return when the server answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            ask(place, "memory")
        except OSError:
            alive = process.poll() is None and time.monotonic() < deadline
            assert alive, log.read_text(errors="replace")[-5000:]
            time.sleep(0.1)
        else:
            return


def ask(place, store):
    """Return a worker's answer, and its id."""
    with urllib.request.urlopen(f"http://{place}/{store}", timeout=60) as answer:
        return answer.read().decode().split(" ", 1)


def test_requests_on_all_stores(address, urls):
    """
    Workers share objects that the application opened before the fork, and never mix replies.
    """
    asked = [store for store in urls for _ in range(REQUESTS)]
    workers: set[str] = set()

    def ask_all():
        with ThreadPoolExecutor(AT_ONCE) as threads:
            answers = list(threads.map(lambda store: (store, *ask(address, store)), asked))
        assert [] == [(store, text) for store, _, text in answers if text != "ok"]
        workers.update(worker for _, worker, _ in answers)
        return len(workers) > 1

    until(ask_all, patience=60)  # on a busy machine one worker starts long before the next
