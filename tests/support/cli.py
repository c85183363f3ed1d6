"""
The command line as a program: run, watched, signalled, and in a terminal of its own.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coatcheck

#: Seconds that nothing takes here; a test that waits this long fails.
PATIENCE = 60.0
ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07)")


def until(condition: Callable[[], Any]) -> Any:
    """
    Return the first true answer of *condition*.
    """
    deadline = time.monotonic() + PATIENCE
    while not (answer := condition()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return answer


@dataclass
class CommandLine:
    """
    `coatcheck`, whose default store and data directory are below *directory*.
    """

    directory: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.directory}/results.db"

    @property
    def results(self) -> coatcheck.Results:
        return coatcheck.by_url(self.url)

    def environment(self, **changes: str) -> dict[str, str]:
        data = str(self.directory / "data")
        return os.environ | {"COATCHECK_URL": self.url, "XDG_DATA_HOME": data} | changes

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[str]:
        """
        Start it with pipes, in a session of its own: there is no terminal.
        """
        given = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": self.environment(**(env or {})),
            "text": True,
            "start_new_session": True,
        }
        return subprocess.Popen([sys.executable, "-m", "coatcheck", *arguments], **given | options)

    def __call__(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """
        Run it to its end.
        """
        process = self.start(*arguments, **options)
        stdout, stderr = process.communicate(timeout=PATIENCE)
        assert "Traceback" not in stderr
        return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)

    @contextmanager
    def terminal(
        self, *arguments: str, columns: int = 120, stdout: int | None = None
    ) -> Iterator[Terminal]:
        """
        Start it in a terminal, which its keyboard controls; *stdout* may be `PIPE`.
        """
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        take = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
        go = "os.execv(sys.executable, [sys.executable, '-m', 'coatcheck', *sys.argv[1:]])"
        environment = self.environment(TERM="xterm-256color")
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
            environment.pop(name, None)
        process = subprocess.Popen(
            [sys.executable, "-c", take + go, *arguments],
            stdin=theirs,
            stdout=theirs if stdout is None else stdout,
            stderr=theirs,
            start_new_session=True,
            env=environment,
        )
        os.close(theirs)
        try:
            yield Terminal(process, ours)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
            os.close(ours)


class Terminal:
    """
    A program in a terminal: its screen, and its keyboard.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.raw = ""
        self._descriptor = descriptor

    @property
    def shown(self) -> str:
        """
        All that was shown so far, without colours and cursor movements.
        """
        return ESCAPES.sub("", self.raw)

    def type(self, keys: bytes) -> None:
        os.write(self._descriptor, keys)

    def read(self) -> bool:
        """
        Read the output of a moment; `False` after the end.
        """
        if not select.select([self._descriptor], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._descriptor, 65536)
        except OSError:  # so Linux says that the other side is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)

    def read_until(self, text: str) -> None:
        until(lambda: self.read() and text in self.shown)

    def finish(self) -> int:
        """
        Read to the end, and return the exit status.
        """
        until(lambda: not self.read())
        return self.process.wait(PATIENCE)
