"""
Real Celerys of several versions, each in an environment of its own, and processes that run them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from .processes import serve

#: Packages for more kinds of compression; Python 3.14 has the first.
COMPRESSORS = ("backports.zstd; python_version < '3.14'", "brotli")
#: The packages of the backend for databases.
DATABASES = ("sqlalchemy>=2", "psycopg[binary]", "pymysql")
#: The packages of each version. For the older one they include the libraries of its time, which
#: its own requirements do not name.
REQUIREMENTS = {
    "5.7": (
        "celery[redis,mongodb,msgpack]==5.7.0", "kombu==5.7.0", "pymemcache>=4", *COMPRESSORS,
        *DATABASES,
    ),
    "5.4": (
        "celery[redis,mongodb,msgpack]==5.4.0", "kombu==5.3.7", "python-memcached==1.62", *DATABASES,
    ),
}  # fmt: skip
SIDE = Path(__file__).with_name("celery_side.py")
#: Variables that would let the surrounding environment into the other one.
LEAKS = ("PYTHON", "COVERAGE", "VIRTUAL_ENV")


def environ() -> dict[str, str]:
    """
    Return the environment variables for a process of another environment.
    """
    return {k: v for k, v in os.environ.items() if not k.startswith(LEAKS)}


def installed(version: str, cache: Path) -> Path:
    """
    Return the Python of the environment with Celery *version*, which is made in *cache* if need be.
    """
    python = f"{sys.implementation.name}{sys.version_info.major}.{sys.version_info.minor}"
    place = cache / f"{version}-{python}"
    wanted = "\n".join(REQUIREMENTS[version])
    mark = place / "requirements.txt"
    if not mark.is_file() or mark.read_text() != wanted or not works(_python(place)):
        shutil.rmtree(place, ignore_errors=True)
        # Apart, and then moved: another session may be making the same.
        making = Path(tempfile.mkdtemp(dir=cache))
        _install(making, REQUIREMENTS[version])
        (making / "requirements.txt").write_text(wanted)
        try:
            making.rename(place)
        except OSError:
            shutil.rmtree(making)
    return _python(place)


def works(python: Path) -> bool:
    """
    Whether the environment can import Celery: its Python may have gone.
    """
    command = [str(python), "-c", "import celery"]
    return python.exists() and subprocess.run(command, env=environ(), check=False).returncode == 0


def _python(place: Path) -> Path:
    return place / "bin" / "python"


def _install(place: Path, requirements: tuple[str, ...]) -> None:
    uv = shutil.which("uv")
    if uv is not None:
        _run(uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place))
        _run(uv, "pip", "install", "--quiet", "--python", str(_python(place)), *requirements)
        return
    _run(sys.executable, "-m", "venv", str(place))
    _run(str(_python(place)), "-m", "pip", "install", "--quiet", *requirements)


def _run(*command: str) -> None:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with serve(command, env=environ(), text=True, **pipes) as process:
        said, _ = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: {said}")


@dataclass
class Side:
    """
    A process with Celery, which serves `celery_side` by methods of the same names.
    """

    process: subprocess.Popen[str]
    version: str

    @classmethod
    def started(cls, python: Path, settings: Mapping[str, Any], log: Path) -> Self:
        """
        Start a process for an application with *settings*.
        """
        with log.open("ab") as errors:
            process = serve(
                # Without the folder of the script on the path: it has a celery.py.
                [str(python), "-P", str(SIDE)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environ(),
                cwd=log.parent,
            )
        side = cls(process, "")
        side._send(settings)
        side.version = side._answer(log)
        return side

    def _send(self, message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def _answer(self, log: Path | None = None) -> Any:
        assert self.process.stdout is not None
        alarm = threading.Timer(90, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        alarm.cancel()
        if not line:
            raise RuntimeError(log.read_text() if log else "the process has ended, or hung")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["ok"]

    def ask(self, name: str, *arguments: Any) -> Any:
        """
        Ask, and return the answer.
        """
        self._send([name, *arguments])
        return self._answer()

    def begin(self, name: str, *arguments: Any) -> None:
        """
        Ask, and do not wait; `end` does.
        """
        self._send([name, *arguments])

    def end(self) -> Any:
        """
        Return the answer to the request begun.
        """
        return self._answer()

    def stop(self) -> None:
        """
        End the process.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Sides:
    """
    Processes for settings, each started when it is first asked for.
    """

    def __init__(self, python: Path, directory: Path) -> None:
        self._python = python
        self._directory = directory
        self._started: dict[str, Side] = {}

    def __call__(self, **settings: Any) -> Side:
        name = json.dumps(settings, sort_keys=True)
        if name not in self._started:
            log = self._directory / f"side-{len(self._started)}.log"
            self._started[name] = Side.started(self._python, settings, log)
        return self._started[name]

    def stop(self) -> None:
        """
        End them all.
        """
        for side in self._started.values():
            side.stop()


WORKER_TASKS = """
import os, time
from celery import Celery

app = Celery("tasks")
app.config_from_object({settings!r})

@app.task
def add(x, y):
    return x + y

@app.task
def fail(message):
    raise ValueError(message)

@app.task(bind=True)
def steps(self, count):
    for step in range(count):
        self.update_state(state="PROGRESS", meta={{"current": step, "total": count}})
        time.sleep(0.05)
    return count
"""


@contextmanager
def worker(python: Path, settings: Mapping[str, Any], directory: Path) -> Iterator[None]:
    """
    Run a worker for the tasks `tasks.add`, `tasks.fail` and `tasks.steps` for the time of a block.
    """
    directory.mkdir()
    (directory / "tasks.py").write_text(WORKER_TASKS.format(settings=dict(settings)))
    log = directory / "worker.log"
    options = ["--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    with log.open("wb") as output:
        process = serve(
            [str(python), "-m", "celery", "-A", "tasks", "worker", "--loglevel", "INFO", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environ(),
            cwd=directory,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
