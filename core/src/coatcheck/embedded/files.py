"""
`file:///directory`: a file for each record, named as Celery names it, for processes of one machine.

A record is written to a temporary file first. Where there is no record, a hard link gives it its
name, which only the first can have. A record that is there is locked (flock, which ends with its
process), judged, and replaced by a rename. So files of ours are never seen half, and who is
killed leaves nothing but a temporary file behind. Readers take no lock.

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
import random
import re
import threading
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from .. import forks
from ..backend import ANY, Capability, KeyValueBackend, Unless
from ..errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
    ConfigurationError,
    DecodeError,
)
from ..url import URL, boolean, read_options

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
_LONGEST_NAME: Final = 255
_TEMPORARY: Final = b".coatcheck-"
#: What the names of keys that cannot be names end in, and what precedes the key in their files.
_HASHED: Final = re.compile(rb"~[0-9a-f]{64}\Z")
_KEY: Final = b"coatcheck-key "
_REFUSED: Final = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG,
        errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.EINVAL,
        errno.ENOTSUP, errno.ENOSYS,
    }
)  # fmt: skip


class _File(NamedTuple):
    """
    What a file holds. `until`: when it expires. `settled`: nobody is still writing it.
    """

    data: bytes
    until: float
    settled: bool

    @property
    def living(self) -> bytes | None:
        """
        The record, unless it expired. An empty file is none: its writer is not done, or dead.
        """
        return self.data if self.data and self.until > time.time() else None


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
    capabilities = Capability.SCAN | Capability.SHARED

    def __init__(
        self, directory: str | Path, *, fsync: bool = False, operation_timeout: float = 5.0
    ) -> None:
        # Bytes: names do not depend on the process's locale. Absolute: nor on its directory.
        self._directory = os.fsencode(os.path.abspath(directory))
        self._fsync = fsync
        self._timeout = operation_timeout
        self._locks: set[int] = set()
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
            if isinstance(error, BackendError):
                raise
            kind = refused if error.errno in _REFUSED else BackendUnavailableError
            where = os.fsdecode(self._directory)
            raise kind(f"{where}: {error.strerror or error}") from error

    # -- names ----------------------------------------------------------------------------

    def _path(self, key: str) -> bytes:
        return os.path.join(self._directory, _name(key))

    def _names(self) -> list[bytes]:
        with suppress(FileNotFoundError):
            return os.listdir(self._directory)
        return []

    # -- reading --------------------------------------------------------------------------

    def _read(self, path: bytes) -> _File | None:
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            return self._content(descriptor, path)
        finally:
            os.close(descriptor)

    def _content(self, descriptor: int, path: bytes) -> _File:
        data = _all_of(descriptor)
        # After reading: a time of ours says that nobody else had touched the file by then.
        status = os.fstat(descriptor)
        if _HASHED.search(path):
            data = data.partition(b"\n")[2]
        until = _expiry(status.st_mtime_ns, status.st_size)
        if until is not None:
            return _File(data, until, settled=True)
        fresh = abs(time.time() - status.st_mtime) < SETTLE
        return _File(data, math.inf, settled=not (fresh and self._looks_torn(data)))

    def _looks_torn(self, data: bytes) -> bool:
        return not data or isinstance(self.codec.decode("", data).error, DecodeError)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        left = set(keys)
        deadline = time.monotonic() + self._timeout
        with self._errors(BackendGetMetaError):
            while left:
                unsettled = set()
                for key in left:
                    file = self._read(self._path(key))
                    if file is None:
                        continue
                    if not file.settled and time.monotonic() < deadline:
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
        path = os.path.join(self._directory, name)
        key = _hashed_key(path) if _HASHED.search(name) else _decoded(name)
        if key is None or not key.startswith(prefix):
            return None
        try:
            status = os.stat(path)
        except FileNotFoundError:
            return None
        until = _expiry(status.st_mtime_ns, status.st_size)
        return key if status.st_size and (until is None or until > time.time()) else None

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
        deadline = time.monotonic() + self._timeout
        with self._errors(BackendStoreError), self._written(path, key, value, expires) as written:
            while True:
                with self._locked(path, deadline) as current:
                    if current is not None:
                        living = current.living
                        if not self._gives_way(living, unless, if_match):
                            return living == value
                        os.replace(written, path)
                        return self._on_disk()
                if if_match is not None:
                    return False
                if _linked(written, path):
                    return self._on_disk()

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

    @contextmanager
    def _written(
        self, path: bytes, key: str, value: bytes, expires: float | None
    ) -> Iterator[bytes]:
        """
        Write the record to a temporary file, and remove that afterwards if it is still there.
        """
        word = f"{os.getpid()}-{threading.get_ident()}-{os.urandom(8).hex()}"
        temporary = os.path.join(self._directory, _TEMPORARY + word.encode())
        data = _KEY + key.encode().hex().encode() + b"\n" + value if _HASHED.search(path) else value
        try:
            descriptor = self._created(temporary)
            try:
                _write_all(descriptor, data)
                _stamp(descriptor, len(data), expires)
                if self._fsync:
                    os.fsync(descriptor)
            finally:
                os.close(descriptor)
            yield temporary
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _created(self, temporary: bytes) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with suppress(FileNotFoundError):
            return os.open(temporary, flags, 0o666)
        os.makedirs(self._directory, exist_ok=True)
        return os.open(temporary, flags, 0o666)

    @contextmanager
    def _locked(self, path: bytes, deadline: float) -> Iterator[_File | None]:
        """
        Keep other writers from replacing the record; `None` where there is none.
        """
        descriptor = self._lock(path, deadline)
        if descriptor is None:
            yield None
            return
        try:
            file = self._content(descriptor, path)
            while not file.settled and time.monotonic() < deadline:
                time.sleep(PAUSE)
                file = self._content(descriptor, path)
            yield file
        finally:
            self._unlock(descriptor)

    def _lock(self, path: bytes, deadline: float) -> int | None:
        pause = 0.0005
        while True:
            try:
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                return None
            self._locks.add(descriptor)
            locked = False
            try:
                locked = self._try_lock(descriptor, path)
            finally:
                if not locked:
                    self._unlock(descriptor)
            if locked:
                return descriptor
            if time.monotonic() > deadline:
                raise BackendUnavailableError(
                    f"{os.fsdecode(path)}: another writer has held it for {self._timeout} s"
                )
            time.sleep(pause * random.random())  # noqa: S311 - out of step with the others
            pause = min(pause * 2, 0.02)

    def _try_lock(self, descriptor: int, path: bytes) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        # It may have been replaced before it was locked.
        with suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(descriptor), os.stat(path))
        return False

    def _unlock(self, descriptor: int) -> None:
        # Not by closing alone: a child that was forked meanwhile has it open too.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        self._locks.discard(descriptor)
        os.close(descriptor)

    # -- deleting -------------------------------------------------------------------------

    def delete_many(self, keys: Collection[str]) -> int:
        with self._errors(BackendStoreError):
            return sum(self._delete(self._path(key), expired=False) for key in set(keys))

    def purge(self) -> int:
        purged = 0
        with self._errors(BackendStoreError):
            for name in self._names():
                path = os.path.join(self._directory, name)
                try:
                    status = os.stat(path)
                except FileNotFoundError:
                    continue
                if name.startswith(_TEMPORARY):
                    self._remove_stale(path, status)
                elif (_expiry(status.st_mtime_ns, status.st_size) or math.inf) <= time.time():
                    purged += self._delete(path, expired=True)
        return purged

    def _delete(self, path: bytes, *, expired: bool) -> bool:
        """
        Delete the record, and return whether it lived, or with *expired* whether it did not.
        """
        with self._locked(path, time.monotonic() + self._timeout) as file:
            if file is None:
                return False
            living = file.living is not None
            if expired and living:
                return False
            with suppress(FileNotFoundError):
                os.unlink(path)
                return living or expired
        return False

    def _remove_stale(self, path: bytes, status: os.stat_result) -> None:
        if time.time() - status.st_ctime > STALE:
            with suppress(FileNotFoundError):
                os.unlink(path)


# -- names ------------------------------------------------------------------------------------


def _name(key: str) -> bytes:
    """
    Return the file name of *key*: the key itself where it can be one, else a hash behind its head.
    """
    name = key.encode()
    if _is_name(name):
        return name
    # The head keeps the prefix by which Celery's cleanup knows its own.
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
        with open(path, "rb") as file:
            line = file.readline()
    except FileNotFoundError:
        return None
    with suppress(ValueError):
        return _decoded(bytes.fromhex(line.removeprefix(_KEY).decode("ascii")))
    return None


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


def _all_of(descriptor: int) -> bytes:
    data = os.pread(descriptor, _CHUNK, 0)
    if len(data) < _CHUNK:
        return data
    parts = [data]
    offset = len(data)
    while part := os.pread(descriptor, max(os.fstat(descriptor).st_size - offset, _CHUNK), offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


# -- expiry -----------------------------------------------------------------------------------


def _stamp(descriptor: int, size: int, expires: float | None) -> None:
    """
    Set the time of modification that says when the record expires.
    """
    until = None if expires is None else math.ceil((time.time() + expires) * 1000)
    if until is None or until > _NEVER:
        moment, kind = int(time.time() * 1000), b"kept"
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


def _checksum(kind: bytes, moment: int, size: int) -> int:
    # In steps of 100 ns, which is as fine as some file systems keep times.
    return zlib.crc32(b"%s %d %d" % (kind, moment, size)) % 10_000 * 100
