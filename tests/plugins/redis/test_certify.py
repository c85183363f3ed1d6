"""
`coatcheck certify` on a Redis that others use.
"""

from __future__ import annotations

import json

from support.cli import CommandLine
from support.redis import RedisServer

#: Others' keys: of other applications, of coatcheck, and of a prefix that looks like the contract's.
FOREIGN = {
    b"session:1": b"x",
    b"celery-task-meta-t": b'{"status": "SUCCESS", "result": 1, "task_id": "t"}',
    b"celery-taskset-meta-t": b"[]",
    b"certify-": b"y",
}


def test_a_store_that_others_use(tmp_path):
    """Others' keys are untouched, nothing else is left, and a proxy before the store is part of it."""
    with RedisServer(tmp_path, "redis") as server, server.client as client:
        for key, value in FOREIGN.items():
            client.set(key, value)
        command = CommandLine(tmp_path)
        process = command.start("certify", server.url, "--quick", "--json")
        stdout, stderr = process.communicate(timeout=500)
        report = json.loads(stdout)

        assert (0, True) == (process.returncode, report["sound"]), stderr
        assert FOREIGN == {key: client.get(key) for key in client.keys("*")}
        assert 0 == report["left"]
        assert report["versions"]["backend"].startswith("coatcheck-redis ")
        assert report["versions"]["server"].startswith("Redis 7.")
        assert ["PUSH", "TTL", "SCAN", "SHARED", "EVENTS"] == report["capabilities"]
        ran = {test["name"] for test in report["tests"] if test["outcome"] == "kept"}
        assert {"test_race", "test_secrets_are_masked"} <= ran
