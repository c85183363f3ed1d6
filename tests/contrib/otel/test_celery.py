"""
A task of Celery, its result, and the wait for it are one trace.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def test_one_trace(redis, monkeypatch):
    """The store is a part of the task, the wait one of the request, and the wait links to the task."""
    monkeypatch.delenv("COATCHECK_PLUGINS")
    program = Path(__file__).with_name("traced.py")
    ran = subprocess.run(
        [sys.executable, program, redis], check=True, stdout=subprocess.PIPE, text=True, timeout=120
    )
    spans = json.loads(ran.stdout.splitlines()[-1])

    assert {"request", "apply_async/double", "run/double", "store redis", "wait redis"} == set(
        spans
    )
    assert 1 == len({span["trace"] for span in spans.values()})
    request, run, wait = (spans[name] for name in ("request", "run/double", "wait redis"))
    assert run["id"] == spans["store redis"]["parent"]
    assert request["id"] == wait["parent"]
    assert [run["id"]] == wait["links"]
