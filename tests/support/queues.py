"""
Queues under the contract of adapters: a broker, a store behind a proxy, and the queue's own worker.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import psutil

from coatcheck.testing.jobs import Recorder
from coatcheck.testing.proxy import Proxy
from coatcheck.testing.queues import Queue
from coatcheck.testing.threads import Not, until

from .processes import serve
from .redis import RedisServer

TESTS = Path(__file__).parents[1]


class Served(Queue):
    """A queue whose worker is a process. All of it is kept in *directory*."""

    #: The arguments of Python that run the worker.
    COMMAND: tuple[str, ...]
    #: The worker logs this when it is ready.
    READY: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.recorder = Recorder(str(directory / "record"))
        self._worker: subprocess.Popen[Any] | None = None
        self._stack = ExitStack()

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    def environ(self) -> dict[str, str]:
        """Return the variables that the worker reads."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the worker, and wait until it is ready."""
        self.log.unlink(missing_ok=True)
        env = {**os.environ, **self.environ(), "PYTHONPATH": str(TESTS), "PYTHONUNBUFFERED": "1"}
        with self.log.open("wb") as log:
            self._worker = serve(
                [sys.executable, *self.COMMAND],
                stdout=log, stderr=log, env=env, cwd=self.directory, start_new_session=True,
            )  # fmt: skip
        until(lambda: self.READY in self.log.read_text() or Not(self.log.read_text()[-3000:]))

    def stop(self) -> None:
        """Kill the worker with all its processes."""
        assert self._worker is not None
        family = psutil.Process(self._worker.pid)
        for process in (family, *family.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._worker.wait()

    def kill(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        with self._stack:
            self.open(self._stack)
            self._stack.callback(self.stop)
            self.start()
            self._stack = self._stack.pop_all()
        return self

    def open(self, stack: ExitStack) -> None:
        """Start the servers and the sender."""
        raise NotImplementedError

    def __exit__(self, *_: object) -> None:
        self._stack.close()


class OnRedis(Served):
    """A queue on Redis; results are in another database of it."""

    def open(self, stack: ExitStack) -> None:
        self.server = stack.enter_context(RedisServer(self.directory / "redis"))
        self.proxy = stack.enter_context(Proxy("127.0.0.1", self.server.port))
        self.broker = self.server.url
        self.url = self.broker.removesuffix("0") + "1"

    def environ(self) -> dict[str, str]:
        return {
            "TESTS_BROKER": self.broker,
            "TESTS_STORE": f"redis://127.0.0.1:{self.proxy.port}/1",
            "TESTS_RECORD": str(self.directory / "record"),
        }
