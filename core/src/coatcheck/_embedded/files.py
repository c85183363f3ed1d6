"""
`file:///directory`: a file for each record, named as Celery names it, for processes of one machine.

A record is written to a temporary file first. Where there is no record, a hard link gives it its
name, which only the first can have. A record that is there is locked (flock, which ends with its
process), judged, and replaced by a rename. So files of ours are never seen half, and who is
killed leaves nothing but a temporary file behind. Readers take no lock.

Only regular files are records. Links are not followed, and pipes and devices are not read.

When a record expires is told by its file's time of modification: a day before, which is when
Celery's own cleanup, left at its default, takes it for old. The digits behind the milliseconds
are a checksum that tells such a time from those of other writers, whose files never expire here.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import math
import os
import re
import stat
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import starmap
from pathlib import Path
from typing import Any, Final, NamedTuple, Self, TypeVar

from .._backends.backend import ANY, Capability, KeyValueBackend, Unless
from .._coding.codec import Unreadable
from .._runtime import forks
from .._runtime.clocks import monotonic, wall
from .._runtime.dice import random
from .._runtime.interruptions import pass_on_interruption
from .._settings.options import read_options
from .._settings.readers import boolean
from .._settings.url import URL
from ..errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
    ConfigurationError,
    DecodeError,
)

#: How long the file of another writer may be empty or cut off before it is taken as it is.
SETTLE: Final = 0.25
#: Seconds between two looks at such a file.
PAUSE: Final = 0.005
#: When the temporary file of a writer that was killed may be removed, in seconds.
STALE: Final = 600.0
#: Celery's default for result_expires, in milliseconds.
_DAY: Final = 86_400_000
#: Later than this, in milliseconds, file systems keep no times: the year 2400.
_NEVER: Final = 13_569_465_600_000
_CHUNK: Final = 65_536
#: Never follow a link, and never wait for the other end of a pipe.
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_LONGEST_NAME: Final = 255
#: How long the line with the key can be in a file whose name is a hash, in bytes.
_LONGEST_KEY: Final = 16 * 1024 * 1024
_TEMPORARY: Final = b".coatcheck-"
#: The suffix of files whose key cannot be a file name, and the mark before the key inside of them.
_HASHED: Final = re.compile(rb"~[0-9a-f]{64}\Z")
_KEY: Final = b"coatcheck-key "
_REFUSED: Final = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG,
        errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.EINVAL,
        errno.ENOTSUP, errno.ENOSYS,
    }
)  # fmt: skip
#: Errors of one file, which say nothing about the others.
_OF_ONE_FILE: Final = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENXIO, errno.ENODEV, errno.EAGAIN, errno.EIO,
        errno.EOVERFLOW, errno.ETXTBSY,
    }
)  # fmt: skip
_KINDS: Final = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


class _ForeignError(OSError):
    """
    Something that is no regular file has the name of a record.
    """


class _UnreadableError(OSError):
    """
    A regular file with the name of a record cannot be read.
    """


T = TypeVar("T")


class _File(NamedTuple):
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


class FilesBackend(KeyValueBackend):
    """
    A directory of records. The file itself is the lock, so none is left behind.

    Celery's processes may use the same directory. They take no locks: one that stores, forgets
    or cleans up a record at the very moment when it is replaced here does so unseen.

    Args:
        directory: made when the first record is stored.
        fsync: wait until each record is on the disk, so that it survives a power failure.
    """

    PROTOCOL_VERSION = 1
    keeps_others = True
    capabilities = Capability.SCAN | Capability.SHARED
    #: Readers refuse larger files, so that a file of somebody else cannot fill their memory.
    max_value_bytes = 512 * 1024 * 1024

    def __init__(
        self, directory: str | Path, *, fsync: bool = False, operation_timeout: float = 5.0
    ) -> None:
        # Bytes: names do not depend on the process's locale. Absolute: nor on its directory.
        self._directory = os.fsencode(os.path.abspath(directory))
        # To join paths anew for each record takes as long as half of a system call.
        self._parent = os.path.join(self._directory, b"")
        self._fsync = fsync
        self._timeout = operation_timeout
        self._locks: set[int] = set()
        # A file can hold its key as well.
        self._largest = self.max_value_bytes + _LONGEST_KEY
        forks.register(self)

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        given = read_options(
            {**url.query, **(options or {})}, {"fsync": boolean}, where=f"{url.scheme}://"
        )
        # As Celery reads it: nothing is percent-decoded, and any host but this is a directory.
        directory = url.rest
        if directory.startswith("localhost/"):
            directory = directory.removeprefix("localhost")
        if not directory:
            raise ConfigurationError(
                f"{url} names no directory: write file:///absolute/directory or "
                "file://relative/directory"
            )
        return cls(directory, operation_timeout=operation_timeout, **given)

    def after_fork(self) -> None:
        # The child's copies would keep the locks of a parent that is killed.
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = set()

    @contextmanager
    def _errors(self, refused: type[BackendError]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            pass_on_interruption(error)
            if isinstance(error, BackendError):
                raise
            kind = refused if error.errno in _REFUSED else BackendUnavailableError
            where = os.fsdecode(self._directory)
            raise kind(f"{where}: {error.strerror or error}") from error

    # -- names ----------------------------------------------------------------------------

    def _path(self, key: str) -> bytes:
        return self._parent + _name(key)

    def _names(self) -> list[bytes]:
        with suppress(FileNotFoundError):
            return os.listdir(self._directory)
        return []

    # -- reading --------------------------------------------------------------------------

    def _read(self, path: bytes) -> _File | None:
        try:
            return _with_file(path, self._content)
        except (FileNotFoundError, _ForeignError):
            return None
        except _UnreadableError as error:
            reason = f"{os.fsdecode(self._directory)}: {error.strerror}"
            return _File(Unreadable(reason, "utf-8", "replace"), math.inf, settled=True)

    def _content(self, descriptor: int, path: bytes) -> _File:
        data, status = _all_of(descriptor, path, self._largest)
        if _HASHED.search(path):
            data = data.partition(b"\n")[2]
        until = _expiry(status.st_mtime_ns, status.st_size)
        if until is not None:
            return _File(data, until, settled=True)
        fresh = abs(wall() - status.st_mtime) < SETTLE
        return _File(data, math.inf, settled=not (fresh and self._looks_torn(data)))

    def _looks_torn(self, data: bytes) -> bool:
        return not data or isinstance(self.codec.decode("", data).error, DecodeError)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        left = set(keys)
        deadline = monotonic() + self._timeout
        with self._errors(BackendGetMetaError):
            while left:
                unsettled = set()
                for key in left:
                    file = self._read(self._path(key))
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

    def scan(self, prefix: str = "") -> Iterator[str]:
        with self._errors(BackendGetMetaError):
            names = self._names()
        for name in names:
            with self._errors(BackendGetMetaError):
                key = self._key_of(name, prefix)
            if key is not None:
                yield key

    def _key_of(self, name: bytes, prefix: str) -> str | None:
        """
        Return the key of a record that lives, and starts with *prefix*.
        """
        if name.startswith(b"."):
            return None
        path = self._parent + name
        key = _hashed_key(path) if _HASHED.search(name) else _decoded(name)
        if key is None or not key.startswith(prefix):
            return None
        status = _status(path)
        if status is None:
            return None
        until = _expiry(status.st_mtime_ns, status.st_size)
        return key if status.st_size and (until is None or until > wall()) else None

    # -- writing --------------------------------------------------------------------------

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        path = self._path(key)
        deadline = monotonic() + self._timeout
        written = self._temporary()
        with self._errors(BackendStoreError):
            try:
                self._write(written, path, key, value, expires)
                return self._place(written, path, value, unless, if_match, deadline)
            finally:
                # It has gone if it took the place of another.
                try:
                    os.unlink(written)
                except OSError as error:
                    pass_on_interruption(error)

    def _place(
        self,
        written: bytes,
        path: bytes,
        value: bytes,
        unless: Unless,
        if_match: bytes | None,
        deadline: float,
    ) -> bool:
        """
        Put the file *written* in the place of the record, if that may be replaced.
        """

        def replace(current: _File | None) -> bool | None:
            if current is None:
                return None
            living = current.living
            if not self._gives_way(living, unless, if_match):
                return living == value
            os.replace(written, path)
            return self._on_disk()

        while True:
            won = self._while_locked(path, deadline, replace)
            if won is not None:
                return won
            if if_match is not None:
                return False
            if _linked(written, path):
                return self._on_disk()
            if monotonic() > deadline:
                raise BackendUnavailableError(
                    f"{os.fsdecode(path)}: it keeps coming and going for {self._timeout} s"
                )

    def _gives_way(self, living: bytes | None, unless: Unless, if_match: bytes | None) -> bool:
        if if_match is not None:
            return living == if_match
        if living is None:
            return True
        return unless is not ANY and self.codec.state_of(living) not in unless

    def _on_disk(self) -> bool:
        if self._fsync:
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
        return True

    def _temporary(self) -> bytes:
        word = f"{os.getpid()}-{threading.get_ident()}-{os.urandom(8).hex()}"
        return self._parent + _TEMPORARY + word.encode()

    def _write(
        self, temporary: bytes, path: bytes, key: str, value: bytes, expires: float | None
    ) -> None:
        """
        Write the record to a temporary file.
        """
        data = _KEY + key.encode().hex().encode() + b"\n" + value if _HASHED.search(path) else value
        held: list[int] = []
        try:
            self._create(temporary, held)
            _write_all(held[0], data)
            _stamp(held[0], len(data), expires)
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

    # Of a descriptor, the call that opens it and the one that notes it are one call into C, as are
    # those that unlock and close it in a `finally`: no signal handler comes between.

    def _while_locked(self, path: bytes, deadline: float, act: Callable[[_File | None], T]) -> T:
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
                    _open(path, held)
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

    def _settled(self, descriptor: int, path: bytes, deadline: float) -> _File:
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

    # -- deleting -------------------------------------------------------------------------

    def delete_many(self, keys: Collection[str]) -> int:
        deleted = 0
        refused: _UnreadableError | None = None
        with self._errors(BackendStoreError):
            for key in set(keys):
                try:
                    deleted += self._delete(self._path(key), expired=False)
                except _ForeignError:
                    continue
                except _UnreadableError as error:
                    refused = error
            # Last: the other records are gone by then.
            if refused is not None:
                raise refused
        return deleted

    def purge(self) -> int:
        purged = 0
        with self._errors(BackendStoreError):
            for name in self._names():
                path = self._parent + name
                status = _status(path)
                if status is None:
                    continue
                if name.startswith(_TEMPORARY):
                    self._remove_stale(path, status)
                elif (_expiry(status.st_mtime_ns, status.st_size) or math.inf) <= wall():
                    with suppress(_ForeignError, _UnreadableError):  # it is not ours to delete
                        purged += self._delete(path, expired=True)
        return purged

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        starts = tuple(os.fsencode(prefix) for prefix in prefixes)
        purged = 0
        with self._errors(BackendStoreError):
            for name in filter(lambda name: name.startswith(starts), self._names()):
                path = self._parent + name
                if _is_older(path, age):
                    with suppress(_ForeignError, _UnreadableError):
                        purged += self._delete_older(path, age)
        return purged

    def _delete_older(self, path: bytes, age: float) -> bool:
        def delete(file: _File | None) -> bool:
            if file is None or not _is_older(path, age):
                return False
            os.unlink(path)
            return True

        return self._while_locked(path, monotonic() + self._timeout, delete)

    def _delete(self, path: bytes, *, expired: bool) -> bool:
        """
        Delete the record, and return whether it lived, or with *expired* whether it did not.
        """

        def delete(file: _File | None) -> bool:
            if file is None:
                return False
            living = file.living is not None
            if expired and living:
                return False
            with suppress(FileNotFoundError):
                os.unlink(path)
                return living or expired
            return False

        return self._while_locked(path, monotonic() + self._timeout, delete)

    def _remove_stale(self, path: bytes, status: os.stat_result) -> None:
        if wall() - status.st_ctime > STALE:
            with suppress(FileNotFoundError, PermissionError):  # another user's
                os.unlink(path)


# -- names ------------------------------------------------------------------------------------


def _name(key: str) -> bytes:
    """
    Return the file name of *key*: the key itself where it can be one, else a hash behind its head.
    """
    name = key.encode()
    if _is_name(name):
        return name
    # The head keeps the prefix: Celery's cleanup recognises its files by it.
    head = re.sub(rb"[^A-Za-z0-9_-]", b"_", name[:100])
    return head + b"~" + hashlib.sha256(name).hexdigest().encode()


def _is_name(name: bytes) -> bool:
    return (
        len(name) <= _LONGEST_NAME
        and not name.startswith(b".")
        and b"/" not in name
        and b"\0" not in name
        and not _HASHED.search(name)
    )


def _hashed_key(path: bytes) -> str | None:
    """
    Return the key of a file whose name is a hash: its first line.
    """
    try:
        line = _with_file(path, _first_line)
    except (FileNotFoundError, _ForeignError, _UnreadableError):
        return None
    with suppress(ValueError):
        return _decoded(bytes.fromhex(line.removeprefix(_KEY).decode("ascii")))
    return None


def _first_line(descriptor: int, path: bytes) -> bytes:
    _check_regular(os.fstat(descriptor), path)
    with open(descriptor, "rb", closefd=False) as file:
        return file.readline(_LONGEST_KEY)


def _decoded(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None


def _linked(written: bytes, path: bytes) -> bool:
    """
    Give the file *written* the name *path*; `False` if another has it.
    """
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


# -- contents ---------------------------------------------------------------------------------


def _status(path: bytes) -> os.stat_result | None:
    """
    Return the status of a regular file, `None` for anything else.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def _with_file(path: bytes, act: Callable[[int, bytes], T]) -> T:
    """
    Call *act* with a descriptor of the file and return its value. Raises the errors of `_open`.
    """
    held: list[int] = []
    try:
        _open(path, held)
        return act(held[0], path)
    finally:
        if held:
            os.close(held[0])


def _open(path: bytes, held: list[int]) -> None:
    """
    Open the file of a record, and put its descriptor into *held*. Raises `FileNotFoundError`,
    `_ForeignError` or `_UnreadableError`.
    """
    try:
        held.extend(starmap(os.open, ((path, _OPEN),)))
    except OSError as error:
        if error.errno not in _OF_ONE_FILE:
            raise
        # Fails again where the directory is at fault.
        _check_regular(os.lstat(path), path)
        raise _unreadable(path, f"{error.strerror}") from error


def _check_regular(status: os.stat_result, path: bytes) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        name = os.fsdecode(os.path.basename(path))
        raise _ForeignError(errno.EEXIST, f"{name!r} is {kind} and no record: remove it")


def _unreadable(path: bytes, reason: str) -> _UnreadableError:
    return _UnreadableError(errno.EACCES, f"{os.fsdecode(os.path.basename(path))!r}: {reason}")


def _all_of(descriptor: int, path: bytes, largest: int) -> tuple[bytes, os.stat_result]:
    """
    Return the content of a regular file that has at most *largest* bytes, and its status.

    The status is asked for last: a time of ours says that nobody else touched the file before.
    """
    # A bounded read, even of a special file. Most records end here.
    data = _part(descriptor, path, _CHUNK, 0)
    status = os.fstat(descriptor)
    _check_regular(status, path)
    wanted = _CHUNK
    while len(data) == wanted:
        if (size := max(status.st_size, wanted)) > largest:
            raise _unreadable(path, f"it has {size} bytes, a record has {largest} at most")
        # Some more than there should be: another program may be writing.
        wanted = size + _CHUNK
        data += _part(descriptor, path, wanted - len(data), len(data))
        status = os.fstat(descriptor)
    return data, status


def _part(descriptor: int, path: bytes, size: int, offset: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        pass_on_interruption(error)
        _check_regular(os.fstat(descriptor), path)
        raise _unreadable(path, f"{error.strerror}") from error


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


# -- expiry -----------------------------------------------------------------------------------


def _stamp(descriptor: int, size: int, expires: float | None) -> None:
    """
    Set the time of modification that says when the record expires.
    """
    until = None if expires is None else math.ceil((wall() + expires) * 1000)
    if until is None or until > _NEVER:
        moment, kind = int(wall() * 1000), b"kept"
    else:
        moment, kind = until - _DAY, b"until"
    modified = moment * 1_000_000 + _checksum(kind, moment, size)
    os.utime(descriptor, ns=(modified, modified))
    if os.fstat(descriptor).st_mtime_ns != modified:
        raise BackendStoreError(
            "the file system keeps the times of files too coarsely, or not so far into the future: "
            "use another one, or sqlite:///"
        )


def _expiry(modified: int, size: int) -> float | None:
    """
    Return when a file with that time of modification expires; `None` if others wrote it.
    """
    moment, rest = divmod(modified, 1_000_000)
    if rest == _checksum(b"until", moment, size):
        return (moment + _DAY) / 1000
    return math.inf if rest == _checksum(b"kept", moment, size) else None


def _is_older(path: bytes, age: float) -> bool:
    """
    Whether another program wrote the file, more than *age* seconds ago.
    """
    status = _status(path)
    if status is None or status.st_mtime >= wall() - age:
        return False
    return _expiry(status.st_mtime_ns, status.st_size) is None


def _checksum(kind: bytes, moment: int, size: int) -> int:
    # In steps of 100 ns, which is as fine as some file systems keep times.
    return zlib.crc32(b"%s %d %d" % (kind, moment, size)) % 10_000 * 100
