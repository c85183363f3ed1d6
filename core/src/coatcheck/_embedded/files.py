"""
`file:///directory`: a file for each record, named as Celery names it, for processes of one machine.

A record is written to a temporary file first. If there is no record, a hard link gives it its
name, which only the first writer can have. An existing record is locked (flock, which ends with its
process), judged, and replaced by a rename. So our files are never seen half written, and a killed
writer leaves nothing but a temporary file. Readers take no lock.
"""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from .._backends.backend import ANY, Capability, KeyValueBackend, Unless
from .._runtime.clocks import monotonic, wall
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
from .directory import Directory, File, is_older, linked
from .regular import ForeignError, UnreadableError, status_of
from .stamps import expiry

if TYPE_CHECKING:
    from .._backends.checkup import Checkup

#: When the temporary file of a killed writer may be removed, in seconds.
STALE: Final = 600.0
_REFUSED: Final = frozenset(
    {
        errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG,
        errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EEXIST, errno.EINVAL,
        errno.ENOTSUP, errno.ENOSYS,
    }
)  # fmt: skip


class FilesBackend(KeyValueBackend):
    """
    A directory of records.

    Celery's processes may use the same directory. They take no locks, so this backend cannot notice
    a change of theirs at the very moment when it replaces the record.

    Args:
        directory: made when the first record is stored.
        fsync: wait until each record is on the disk, so that it survives a power failure.
    """

    PROTOCOL_VERSION = 1
    keeps_others = True
    capabilities = Capability.SCAN | Capability.SHARED
    #: Readers refuse larger files, so that a foreign file cannot fill their memory.
    max_value_bytes = 512 * 1024 * 1024

    def __init__(
        self, directory: str | Path, *, fsync: bool = False, operation_timeout: float = 5.0
    ) -> None:
        self._timeout = operation_timeout
        self._path = os.path.abspath(directory)
        self._files = Directory(
            directory,
            timeout=operation_timeout,
            fsync=fsync,
            largest=self.max_value_bytes,
            looks_torn=self._looks_torn,
        )

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

    def checkup(self) -> Checkup:
        from .disk import DirectoryCheckup  # noqa: PLC0415 - only for the doctor

        return DirectoryCheckup(self._path)

    @contextmanager
    def _errors(self, refused: type[BackendError]) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            pass_on_interruption(error)
            if isinstance(error, BackendError):
                raise
            kind = refused if error.errno in _REFUSED else BackendUnavailableError
            raise kind(f"{self._files}: {error.strerror or error}") from error

    # -- reading --------------------------------------------------------------------------

    def _looks_torn(self, data: bytes) -> bool:
        return not data or isinstance(self.codec.decode("", data).error, DecodeError)

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        with self._errors(BackendGetMetaError):
            return self._files.read_all(keys)

    def scan(self, prefix: str = "") -> Iterator[str]:
        with self._errors(BackendGetMetaError):
            paths = self._files.paths()
        for path in paths:
            with self._errors(BackendGetMetaError):
                key = self._living_key(path, prefix)
            if key is not None:
                yield key

    def _living_key(self, path: bytes, prefix: str) -> str | None:
        """Return the key of a living record if it starts with *prefix*."""
        key = self._files.key_of(path)
        if key is None or not key.startswith(prefix):
            return None
        status = status_of(path)
        if status is None:
            return None
        until = expiry(status.st_mtime_ns, status.st_size)
        return key if status.st_size and (until is None or until > wall()) else None

    def lives(self, keys: Collection[str], *, groups: bool = False) -> dict[str, float | None]:
        del groups
        found: dict[str, float | None] = {}
        with self._errors(BackendGetMetaError):
            for key in keys:
                status = status_of(self._files.path_of(key))
                if status is not None:
                    until = expiry(status.st_mtime_ns, status.st_size)
                    found[key] = None if until is None else until - wall()
        return found

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
        path = self._files.path_of(key)
        deadline = monotonic() + self._timeout
        written = self._files.temporary()
        with self._errors(BackendStoreError):
            try:
                self._files.write(written, path, key, value, expires)
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
        """Put the file *written* in the place of the record, unless that is protected."""

        def replace(current: File | None) -> bool | None:
            if current is None:
                return None
            living = current.living
            if not self._gives_way(living, unless, if_match):
                return living == value
            os.replace(written, path)
            self._files.sync()
            return True

        while True:
            won = self._files.while_locked(path, deadline, replace)
            if won is not None:
                return won
            if if_match is not None:
                return False
            if linked(written, path):
                self._files.sync()
                return True
            if monotonic() > deadline:
                raise BackendUnavailableError(
                    f"{os.fsdecode(path)}: other writers stored and deleted it again and again for {self._timeout} s"
                )

    def _gives_way(self, living: bytes | None, unless: Unless, if_match: bytes | None) -> bool:
        if if_match is not None:
            return living == if_match
        if living is None:
            return True
        return unless is not ANY and self.codec.state_of(living) not in unless

    # -- deleting -------------------------------------------------------------------------

    def delete_many(self, keys: Collection[str]) -> int:
        deleted = 0
        refused: UnreadableError | None = None
        with self._errors(BackendStoreError):
            for key in set(keys):
                try:
                    deleted += self._delete(self._files.path_of(key), expired=False)
                except ForeignError:
                    continue
                except UnreadableError as error:
                    refused = error
            # Last: the other records are gone by then.
            if refused is not None:
                raise refused
        return deleted

    def purge(self) -> int:
        purged = 0
        with self._errors(BackendStoreError):
            for path in self._files.paths():
                status = status_of(path)
                if status is None:
                    continue
                if self._files.is_temporary(path):
                    self._remove_stale(path, status)
                elif (expiry(status.st_mtime_ns, status.st_size) or math.inf) <= wall():
                    with suppress(ForeignError, UnreadableError):  # it is not ours to delete
                        purged += self._delete(path, expired=True)
        return purged

    def purge_others(self, age: float, prefixes: Collection[str] = ()) -> int:
        starts = tuple(os.fsencode(prefix) for prefix in prefixes)
        purged = 0
        with self._errors(BackendStoreError):
            for path in self._files.paths():
                if os.path.basename(path).startswith(starts) and is_older(path, age):
                    with suppress(ForeignError, UnreadableError):
                        purged += self._delete_older(path, age)
        return purged

    def _delete_older(self, path: bytes, age: float) -> bool:
        def delete(file: File | None) -> bool:
            if file is None or not is_older(path, age):
                return False
            os.unlink(path)
            return True

        return self._files.while_locked(path, monotonic() + self._timeout, delete)

    def _delete(self, path: bytes, *, expired: bool) -> bool:
        """Delete the record, and return whether it lived, or with *expired* whether it did not."""

        def delete(file: File | None) -> bool:
            if file is None:
                return False
            living = file.living is not None
            if expired and living:
                return False
            with suppress(FileNotFoundError):
                os.unlink(path)
                return living or expired
            return False

        return self._files.while_locked(path, monotonic() + self._timeout, delete)

    def _remove_stale(self, path: bytes, status: os.stat_result) -> None:
        if wall() - status.st_ctime > STALE:
            with suppress(FileNotFoundError, PermissionError):  # another user's
                os.unlink(path)
