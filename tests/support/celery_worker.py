"""
Workers of Celery that tests start and stop.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .processes import serve

TESTS = Path(__file__).parents[1]


@dataclass
class Worker:
    """
    One worker of the application `support.celery_tasks`.
    """

    directory: Path
    broker: str
    backend: str
    pool: str = "prefork"
    concurrency: int = 2
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.directory / "worker.log"

    def start(self) -> Worker:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            sys.executable, "-m", "celery",
            "-A", "support.celery_tasks",
            "worker",
            "--pool", self.pool,
            "--concurrency", str(self.concurrency),
            "--loglevel", "INFO",
            "--without-gossip", "--without-mingle",
        ]  # fmt: skip
        env = {
            **os.environ,
            "PYTHONPATH": str(TESTS),
            "TESTS_BROKER": self.broker,
            "TESTS_BACKEND": self.backend,
            "C_FORCE_ROOT": "1",
        }
        with self.log.open("ab") as log:
            self.process = serve(command, stdout=log, stderr=log, env=env, start_new_session=True)
        self._until_ready()
        return self

    def _until_ready(self) -> None:
        deadline = time.monotonic() + 120
        while " ready." not in self.log.read_text():
            assert self.process is not None
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                raise RuntimeError(self.log.read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """
        Let it end within ten seconds; its children end with it.
        """
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
