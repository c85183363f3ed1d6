"""
`coatcheck run`: a command as a task.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import uuid
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

import click

from .. import states
from .._backends.backend import Capability
from .._record.failures import Failure
from .._results.running import RunningTask
from .._runtime.starting import start
from .._settings.durations import optional_seconds
from .._settings.options import DEFAULT, Default
from ..errors import BackendError, CoatcheckError, ConfigurationError, TaskRevokedError
from . import exits
from .options import Common, common_options
from .process import Child, Signals, Tail
from .progress import Progress, ProgressReader
from .text import is_terminal, one_line, say, span

if TYPE_CHECKING:
    from .._record.documents import AllFields, Fields
    from .._record.meta import ResultMeta
    from .._results.results import Results

#: Seconds between two stores of progress, at least.
PROGRESS_EVERY: Final = 1.0
DEFAULT_HEARTBEAT: Final = 10.0
_MESSAGE: Final = 200


class CommandError(Exception):
    """
    A command ended with a status other than 0, or could not be started.

    `exit_status` is the status that a shell would show; `stdout` and `stderr` are the ends of its output;
    `duration` is in seconds.
    """

    # Stored by this name, which is the one that users know.
    __module__ = "coatcheck.cli"

    def __init__(self, message: str, *, exit_status: int, **details: Any) -> None:
        super().__init__(message)
        self.exit_status = exit_status
        self.__dict__.update(details)


class CommandTask(RunningTask):
    """
    A running task that ends with the outcome that it is given.

    Args:
        signals: end the run once the task knows that it was revoked.
    """

    outcome: tuple[str, Any] = (states.REVOKED, "the command was not started")

    def __init__(self, signals: Signals, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._signals = signals

    def claim(self) -> None:
        """Store STARTED; refuse to go on if the task is over, or if the store is away."""
        if not self._store_unready():
            over = self._results.get_state(self.task_id)
            raise ConfigurationError(
                f"task {self.task_id!r} is over already ({over}): use another --id, or none"
            )

    @property
    def revocation(self) -> Failure | None:
        """The reason why somebody else revoked the task; `None` as long as it is not known to be."""
        return self._revocation

    def _learn(self, stored: ResultMeta | None) -> None:
        super()._learn(stored)
        if self._revocation is not None:
            self._signals.stop(signal.SIGTERM)

    def _ready(self, error: BaseException | None) -> tuple[str, Any, AllFields]:
        if error is not None:
            return super()._ready(error)
        return (*self.outcome, self._fields)


class Reporter:
    """Stores progress, now and then, in a thread of its own: output does not wait for the store."""

    def __init__(self, task: RunningTask) -> None:
        self._task = task
        self._news = threading.Event()
        self._ended = threading.Event()
        self._latest: Progress | None = None
        self._thread = threading.Thread(target=self._run, name="coatcheck-progress", daemon=True)
        start(self._thread)

    def reader(self) -> Any:
        """Return the function that reads one stream of output."""
        parser = ProgressReader()

        def feed(data: bytes) -> None:
            found = parser.feed(data)
            if found is not None and found != self._latest:
                self._latest = found
                self._news.set()

        return feed

    def _run(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if self._ended.is_set():
                return
            if self._latest is not None:
                self._store(*self._latest)
            self._ended.wait(PROGRESS_EVERY)

    def _store(self, current: float, total: float) -> None:
        try:
            self._task.progress(_whole(current), _whole(total))
        except (BackendError, TaskRevokedError):
            return  # the next one may be stored; the end says whether the store came back

    def end(self) -> None:
        """Store no more. Waits for a store under way."""
        self._ended.set()
        self._news.set()
        self._thread.join()


def _whole(number: float) -> float:
    return int(number) if number == int(number) else number


def _expires(_: click.Context, __: click.Parameter, value: str | None) -> Any:
    try:
        return DEFAULT if value is None else optional_seconds(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}, or none to keep the record") from None


@click.command(
    context_settings={"allow_interspersed_args": False},
    epilog="""
\b
Examples:
  coatcheck run -- make all             as a task with a new id
  coatcheck run --id build --expires 3600 -- make all
  coatcheck run --id build --json -- make all 2> log
""",
)
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("--id", "task_id", metavar="ID", help="The task's id; by default a new UUID.")
@click.option("--name", metavar="NAME", help="The task's name; by default the command's.")
@click.option(
    "--heartbeat",
    metavar="SECONDS",
    type=click.FloatRange(min=0),
    default=DEFAULT_HEARTBEAT,
    show_default=True,
    help="How often to give a sign of life, by which waiters notice a lost worker; 0 for none.",
)
@click.option(
    "--expires",
    metavar="SECONDS",
    callback=_expires,
    help="How long the record is kept: seconds, or none for ever; by default a day.",
)
@common_options
@click.pass_obj
def run(
    common: Common,
    command: tuple[str, ...],
    task_id: str | None,
    name: str | None,
    heartbeat: float,
    expires: float | Default | None,
) -> int:
    """
    Run a command as a task.

    Its output is shown as it comes, and the end of it (64 KiB of each stream) is stored with
    its exit status. Progress that it prints ("37%", "3/10") is stored too. The command line is
    not stored: arguments may be secrets.

    Ctrl-C and SIGTERM are passed on to the command, which is killed if it has not ended ten
    seconds later, and the task is revoked. If somebody else revokes the task, the command gets
    SIGTERM with the next heartbeat, or the next progress.
    """
    task_id = str(uuid.uuid4()) if task_id is None else task_id
    fields: Fields = {"name": name or _text(PurePath(command[0]).name)}
    with common.open() as results, Signals() as signals:
        task = CommandTask(
            signals, results, task_id, expires=expires, heartbeat=heartbeat or None, fields=fields
        )
        task.claim()
        if Capability.SHARED not in results.backend.capabilities:
            say(f"note: no other process will find this task in {common.store}")
        _say_if_terminal(f"task {task_id} started")
        status = _Run(task, command, signals, to_stderr=common.json).outcome()
        if common.json:
            _print_record(results, task_id)
    return status


def _text(argument: str) -> str:
    return os.fsencode(argument).decode(errors="replace")


def _say_if_terminal(message: str) -> None:
    if is_terminal(sys.stderr):
        say(message)


def _print_record(results: Results, task_id: str) -> None:
    import json

    from .render import as_json

    try:
        line = as_json(results.get_task_meta(task_id))
    except CoatcheckError as error:
        line = json.dumps({"task_id": task_id, "error": one_line(str(error))})
    click.echo(line)


class _Run:
    """One run of a command, from its start to its outcome."""

    def __init__(
        self, task: CommandTask, command: tuple[str, ...], signals: Signals, *, to_stderr: bool
    ) -> None:
        self._task = task
        self._command = command
        self._signals = signals
        self._stdout = 2 if to_stderr else 1
        self._start = time.monotonic()

    def outcome(self) -> int:
        """Run the command, store its outcome, and return the exit status."""
        status = exits.ERROR
        try:
            with self._task as task:
                status = self._run()
        except CoatcheckError as error:
            return self._not_stored(str(error), status)
        if task.revocation is not None:
            say(f"task {task.task_id!r} was revoked: {one_line(task.revocation.message, _MESSAGE)}")
            return status
        state = task.outcome[0]
        if not task.won:
            return self._not_stored("the task was over already", status)
        _say_if_terminal(f"task {task.task_id}: {state} after {span(self._duration)}")
        return status

    def _not_stored(self, why: str, status: int) -> int:
        say(
            f"the outcome (exit status {status}) of task {self._task.task_id!r} is not stored: {why}"
        )
        return status or exits.NOT_STORED

    @property
    def _duration(self) -> float:
        return round(time.monotonic() - self._start, 3)

    def _run(self) -> int:
        if self._signals.first is not None:
            return self._revoked(self._signals.first, [Tail(), Tail()])
        reporter = Reporter(self._task)
        try:
            child = Child(
                self._command,
                self._signals,
                stdout=self._stdout,
                stderr=2,
                seen=[reporter.reader(), reporter.reader()],
            )
        except OSError as error:
            return self._not_started(error)
        else:
            return self._ended(child, child.wait())
        finally:
            reporter.end()

    def _not_started(self, error: OSError) -> int:
        missing = isinstance(error, FileNotFoundError)
        status = exits.NOT_FOUND if missing else exits.CANNOT_EXECUTE
        message = f"{_text(self._command[0])}: {error.strerror}"
        self._task.outcome = states.FAILURE, CommandError(message, exit_status=status)
        say(message)
        return status

    def _ended(self, child: Child, status: int) -> int:
        if child.stopped_by is not None:
            return self._revoked(child.stopped_by, child.tails)
        details = self._details(child.tails)
        if status == 0:
            self._task.outcome = states.SUCCESS, {"exit_status": 0, **details}
            return exits.SUCCESS
        message = f"exit status {status}"
        if status < 0:
            message = f"ended by {_signal_name(-status)}"
            status = exits.SIGNALLED - status
        last = one_line(_last_line(details["stderr"]), _MESSAGE)
        message = f"{message}: {last}" if last else message
        self._task.outcome = states.FAILURE, CommandError(message, exit_status=status, **details)
        return status

    def _revoked(self, number: int, tails: list[Tail]) -> int:
        failure = Failure.revoked(f"stopped by {_signal_name(number)}")
        status = exits.SIGNALLED + number
        failure.attributes.update(self._details(tails), exit_status=status)
        self._task.outcome = states.REVOKED, failure
        return status

    def _details(self, tails: list[Tail]) -> dict[str, Any]:
        stdout, stderr = (tail.text() for tail in tails)
        return {
            "stdout": stdout,
            "stderr": stderr,
            "duration": self._duration,
            "truncated": any(tail.truncated for tail in tails),
        }


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
