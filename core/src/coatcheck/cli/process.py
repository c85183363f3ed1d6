"""
A command as a child process: its output passed on and its tail kept, signals passed on to it.
"""

from __future__ import annotations

import os
import queue
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import IO, Any, Final, Self

from .._runtime.starting import start
from ..errors import ThreadStartError

#: How much of each stream is kept, in bytes.
TAIL: Final = 64 * 1024
#: How long after the first signal the child gets SIGTERM, and SIGKILL, in seconds.
TERMINATED_AFTER: Final = 5.0
KILLED_AFTER: Final = 10.0
#: A second Ctrl-C kills at once, unless it comes so soon that it is still the first.
IMPATIENT_AFTER: Final = 0.5
#: Output is complete when the child is gone and nothing came for this many seconds.
QUIET: Final = 0.5
#: How late a signal may be noticed, in seconds.
_TURN: Final = 0.25

_CAUGHT: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
_OVERWRITTEN: Final = re.compile(rb"[^\n]*\r(?![\r\n]|\Z)")
_WRITES: Final = 64 * 1024


class Tail:
    """
    The end of a stream. Of a line that was overwritten after a carriage return, as progress bars
    do, the last version is kept.
    """

    def __init__(self, limit: int = TAIL) -> None:
        self._limit = limit
        self._kept = bytearray()
        self.truncated: bool = False

    def feed(self, data: bytes) -> None:
        """Take in the next piece."""
        if b"\r" in data or self._kept.endswith(b"\r"):
            start = self._kept.rfind(b"\n") + 1
            data = _OVERWRITTEN.sub(b"", bytes(self._kept[start:]) + data)
            del self._kept[start:]
        self._kept += data
        # Now and then, not at each piece: it moves all that is kept.
        if len(self._kept) > 2 * self._limit:
            self._cut()

    def _cut(self) -> None:
        if len(self._kept) > self._limit:
            del self._kept[: -self._limit]
            self.truncated = True

    def text(self) -> str:
        """Return the kept text. Bytes that are not UTF-8 are replaced."""
        self._cut()
        kept = bytes(self._kept)
        if self.truncated:
            kept = kept.lstrip(bytes(range(0x80, 0xC0)))  # the rest of a character
        return kept.decode(errors="replace")


class Pump(threading.Thread):
    """
    Passes a stream of the child on, unchanged and at once, and keeps its tail.

    Args:
        target: the file descriptor to write to.
        seen: called with each piece.
    """

    def __init__(self, source: IO[bytes], target: int, seen: Callable[[bytes], object]) -> None:
        super().__init__(name="coatcheck-output", daemon=True)
        self._source = source
        self._target = target
        self._seen = seen
        self._idle_since: float | None = None
        self.tail: Tail = Tail()

    def run(self) -> None:
        with self._source:
            while data := self._read():
                self.tail.feed(data)
                self._seen(data)
                # If our reader is gone, the child must notice it as if we were not in between.
                if not write_all(self._target, data):
                    return

    def _read(self) -> bytes:
        self._idle_since = time.monotonic()
        data = os.read(self._source.fileno(), _WRITES)
        self._idle_since = None
        return data

    def finish(self, stopped: Callable[[], bool]) -> None:
        """
        Wait until the whole output of the child was passed on.

        Processes that the child left behind may hold the stream open, so this does not wait for its end.
        It does wait for a slow reader of ours, unless the run was *stopped*.
        """
        start = time.monotonic()
        while self.is_alive():
            self.join(QUIET / 10)
            since, now = self._idle_since, time.monotonic()
            quiet = since is not None and now - max(since, start) > QUIET
            if quiet or (stopped() and now - start > 2 * QUIET):
                return


def write_all(target: int, data: bytes) -> bool:
    """Write *data*; `False` if it cannot be written."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(target, view) :]
        except BlockingIOError:
            select.select([], [target], [])
        except OSError:
            return False
    return True


class Signals:
    """
    Catches, for the time of a block, the signals that end a run; one that was ignored stays so.
    """

    def __init__(self) -> None:
        self.first: int | None = None
        #: Reentrant, unlike a lock or an event: a handler runs in the middle of anything.
        self.caught: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _CAUGHT:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._catch)
        return self

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.stop(number)

    def stop(self, number: int) -> None:
        """End the run as the signal *number* does. For any thread."""
        if self.first is None:
            self.first = number
        self.caught.put(number)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)


class Child:
    """
    A running command.

    Without a terminal it leads a process group of its own, so that signals reach all that it
    started; in a terminal it shares ours, so that the keyboard reaches it.
    """

    def __init__(
        self,
        command: Sequence[str],
        signals: Signals,
        *,
        stdout: int,
        stderr: int,
        seen: Sequence[Callable[[bytes], object]],
    ) -> None:
        #: The signal that came before the child's end, if one did.
        self.stopped_by: int | None = None
        self._signals = signals
        self._alone = _in_foreground() is None
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            process_group=0 if self._alone else None,
        )
        sources = (self._process.stdout, self._process.stderr)
        self._pumps = [
            Pump(source, target, look)
            for source, target, look in zip(sources, (stdout, stderr), seen, strict=True)
            if source is not None
        ]
        self._stopper = threading.Thread(target=self._stop, name="coatcheck-signals", daemon=True)

    def wait(self) -> int:
        """
        Wait for the end of the command and of its output; return its status, negative for the
        signal that ended it.
        """
        try:
            start(self._stopper)
            for pump in self._pumps:
                start(pump)
        except ThreadStartError:
            self._process.kill()  # nobody would read its output
            raise
        status = self._ended()
        self.stopped_by = self._signals.first
        self._signals.caught.put(None)
        for pump in self._pumps:
            pump.finish(lambda: self._signals.first is not None)
        return status

    def _ended(self) -> int:
        """Wait for the end of the command; return its status."""
        # In turns: the main thread runs signal handlers, and a signal that comes a moment before the
        # system call to wait does not wake it.
        waiting = threading.Thread(target=self._process.wait, name="coatcheck-end", daemon=True)
        start(waiting)
        while waiting.is_alive():
            waiting.join(_TURN)
        return self._process.returncode

    @property
    def tails(self) -> list[Tail]:
        """The ends of stdout and stderr."""
        return [pump.tail for pump in self._pumps]

    # -- stopping -------------------------------------------------------------------------

    def _stop(self) -> None:
        number = self._signals.caught.get()
        if number is None:
            return
        start = time.monotonic()
        # A signal from the keyboard has reached the child already.
        if not (number == signal.SIGINT and not self._alone and _in_foreground()):
            self._send(number)
        for after, last in ((TERMINATED_AFTER, signal.SIGTERM), (KILLED_AFTER, signal.SIGKILL)):
            if self._ended_within(start, after):
                return
            self._send(last)

    def _ended_within(self, start: float, seconds: float) -> bool:
        while (left := start + seconds - time.monotonic()) > 0:
            try:
                number = self._signals.caught.get(timeout=left)
            except queue.Empty:
                return False
            if number is None:
                return True
            if number == signal.SIGINT and time.monotonic() - start > IMPATIENT_AFTER:
                self._send(signal.SIGKILL)
        return False

    def _send(self, number: int) -> None:
        if self._process.returncode is not None:
            return
        try:
            if self._alone:
                os.killpg(self._process.pid, number)
            else:
                os.kill(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return  # gone, or no longer ours to signal: both end by themselves


def _in_foreground() -> bool | None:
    """Whether the keyboard's signals reach this process; `None` where no terminal controls it."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return None
    finally:
        os.close(terminal)
