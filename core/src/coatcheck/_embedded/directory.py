"""
A directory of records: reading a file, locking it, and giving it new content.

The file itself is the lock, so no lock file is left behind. Readers take no lock.
"""

from __future__ import annotations

import errno
import fcntl
import math
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from itertools import starmap
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from .._coding.codec import Unreadable
from .._runtime import forks
from .._runtime.clocks import monotonic, wall
from .._runtime.dice import random
from ..errors import BackendStoreError, BackendUnavailableError
from . import filenames, stamps
from .regular import ForeignError, UnreadableError, all_of, open_into, status_of, with_file

#: How long the file of another writer may be empty or cut off before it counts as complete.
SETTLE: Final = 0.25
#: Seconds between two looks at such a file.
PAUSE: Final = 0.005
_TEMPORARY: Final = b".coatcheck-"

T = TypeVar("T")


class File(NamedTuple):
    """
    The content of a file. `until` is its expiry. `settled` is true if no writer is still writing it.
    """

    data: bytes
    until: float
    settled: bool

    @property
    def living(self) -> bytes | None:
        """
        The record, unless it expired. An empty file holds no record: its writer is not done, or died.
        """
        return self.data if self.data and self.until > wall() else None


class Directory:
    """
    The files of a directory, by key or path.

    Args:
        timeout: how long a file may be held by others, in seconds.
        fsync: wait until each record is on the disk.
        largest: larger records are not read.
        looks_torn: says whether the bytes look like a record that is still being written.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        timeout: float,
        fsync: bool,
        largest: int,
        looks_torn: Callable[[bytes], bool],
    ) -> None:
        # Bytes and absolute: independent of the process's locale and working directory.
        self._directory = os.fsencode(os.path.abspath(directory))
        # Joining paths for each record would take half as long as a system call.
        self._parent = os.path.join(self._directory, b"")
        self._timeout = timeout
        self._fsync = fsync
        # A file may hold its key as well.
        self._largest = largest + filenames.LONGEST_KEY
        self._looks_torn = looks_torn
        self._locks: set[int] = set()
        forks.register(self)

    def __str__(self) -> str:
        return os.fsdecode(self._directory)

    def after_fork(self) -> None:
        # The child's copies would keep the locks of a parent that is killed.
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = set()

    # -- names ----------------------------------------------------------------------------

    def path_of(self, key: str) -> bytes:
        """Return the path of the file of *key*."""
        return self._parent + filenames.name_of(key)

    def paths(self) -> list[bytes]:
        """Return the paths of all files, records or not."""
        with suppress(FileNotFoundError):
            return [self._parent + name for name in os.listdir(self._directory)]
        return []

    def key_of(self, path: bytes) -> str | None:
        """Return the key of the file *path*; `None` if it has none."""
        name = path.removeprefix(self._parent)
        return None if name.startswith(b".") else filenames.key_of(path, name)

    def is_temporary(self, path: bytes) -> bool:
        """Whether a writer made the file *path* before it gave it a name."""
        return path.startswith(_TEMPORARY, len(self._parent))

    # -- reading --------------------------------------------------------------------------

    def read_all(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return the living records of *keys*, after other writers had time to finish theirs."""
        found: dict[str, bytes] = {}
        left: Collection[str] = set(keys)
        deadline = monotonic() + self._timeout
        while left:
            unsettled = set()
            for key in left:
                file = self.read(self.path_of(key))
                if file is None:
                    continue
                if not file.settled and monotonic() < deadline:
                    unsettled.add(key)
                elif (value := file.living) is not None:
                    found[key] = value
            left = unsettled
            if left:
                time.sleep(PAUSE)
        return found

    def read(self, path: bytes) -> File | None:
        try:
            return with_file(path, self._content)
        except (FileNotFoundError, ForeignError):
            return None
        except UnreadableError as error:
            reason = f"{os.fsdecode(self._directory)}: {error.strerror}"
            return File(Unreadable(reason, "utf-8", "replace"), math.inf, settled=True)

    def _content(self, descriptor: int, path: bytes) -> File:
        data, status = all_of(descriptor, path, self._largest)
        if filenames.is_hashed(path):
            data = data.partition(b"\n")[2]
        until = stamps.expiry(status.st_mtime_ns, status.st_size)
        if until is not None:
            return File(data, until, settled=True)
        fresh = abs(wall() - status.st_mtime) < SETTLE
        return File(data, math.inf, settled=not (fresh and self._looks_torn(data)))

    # -- writing --------------------------------------------------------------------------

    def temporary(self) -> bytes:
        """Return a path for a file that has no name yet."""
        word = f"{os.getpid()}-{threading.get_ident()}-{os.urandom(8).hex()}"
        return self._parent + _TEMPORARY + word.encode()

    def write(
        self, temporary: bytes, path: bytes, key: str, value: bytes, expires: float | None
    ) -> None:
        """Write the record to a temporary file."""
        data = filenames.first_line(key) + value if filenames.is_hashed(path) else value
        held: list[int] = []
        try:
            self._create(temporary, held)
            _write_all(held[0], data)
            stamps.stamp(held[0], len(data), expires)
            if self._fsync:
                os.fsync(held[0])
        finally:
            if held:
                os.close(held[0])

    def _create(self, temporary: bytes, held: list[int]) -> None:
        create = (temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        with suppress(FileNotFoundError):
            held.extend(starmap(os.open, (create,)))
        if not held:
            os.makedirs(self._directory, exist_ok=True)
            held.extend(starmap(os.open, (create,)))

    def sync(self) -> None:
        """Wait until the names are on the disk, if records have to be."""
        if self._fsync:
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)

    # -- locks ----------------------------------------------------------------------------

    # Of a descriptor, the call that opens it and the one that notes it are one call into C, as are
    # those that unlock and close it in a `finally`: no signal handler comes between.

    def while_locked(self, path: bytes, deadline: float, act: Callable[[File | None], T]) -> T:
        """
        Call *act* while no other writer can replace the record, and return its value. *act* receives `None` if
        there is no record.
        """
        forks.check()
        pause = 0.0005
        while True:
            held: list[int] = []
            try:
                with suppress(FileNotFoundError):
                    open_into(path, held)
                if not held:
                    return act(None)
                self._locks.add(held[0])
                if self._try_lock(held[0], path):
                    return act(self._settled(held[0], path, deadline))
            finally:
                if held:
                    try:
                        # Not by closing alone: a child that was forked meanwhile has it open too.
                        fcntl.flock(held[0], fcntl.LOCK_UN)
                    finally:
                        try:
                            self._locks.discard(held[0])
                        finally:
                            os.close(held[0])
            if monotonic() > deadline:
                raise BackendUnavailableError(
                    f"{os.fsdecode(path)}: another writer has held it for {self._timeout} s"
                )
            time.sleep(pause * random())  # out of step with the others
            pause = min(pause * 2, 0.02)

    def _settled(self, descriptor: int, path: bytes, deadline: float) -> File:
        file = self._content(descriptor, path)
        while not file.settled and monotonic() < deadline:
            time.sleep(PAUSE)
            file = self._content(descriptor, path)
        return file

    def _try_lock(self, descriptor: int, path: bytes) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # It may have been replaced before it was locked.
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.lstat(path))
        return False


def linked(written: bytes, path: bytes) -> bool:
    """Give the file *written* the name *path*; `False` if another has it."""
    try:
        os.link(written, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
            raise
        raise BackendStoreError(
            f"{os.fsdecode(path)}: the file system has no hard links: use another one, or sqlite:///"
        ) from error
    return True


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def is_older(path: bytes, age: float) -> bool:
    """Whether another program wrote the file, more than *age* seconds ago."""
    status = status_of(path)
    if status is None or status.st_mtime >= wall() - age:
        return False
    return stamps.expiry(status.st_mtime_ns, status.st_size) is None
