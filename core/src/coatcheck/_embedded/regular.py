"""
Reading regular files only. Links are not followed, and pipes and devices are not read.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from itertools import starmap
from typing import Final, TypeVar

from .._runtime.interruptions import pass_on_interruption

_CHUNK: Final = 65_536
#: Never follow a link, and never wait for the other end of a pipe.
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
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


class ForeignError(OSError):
    """Something else than a regular file has the name of a record."""


class UnreadableError(OSError):
    """A regular file with the name of a record cannot be read."""


T = TypeVar("T")


def status_of(path: bytes) -> os.stat_result | None:
    """Return the status of a regular file, `None` for anything else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def with_file(path: bytes, act: Callable[[int, bytes], T]) -> T:
    """
    Call *act* with a descriptor of the file and return its value. Raises the errors of `open_into`.
    """
    held: list[int] = []
    try:
        open_into(path, held)
        return act(held[0], path)
    finally:
        if held:
            os.close(held[0])


def open_into(path: bytes, held: list[int]) -> None:
    """
    Open the file of a record, and put its descriptor into *held*. Raises `FileNotFoundError`,
    `ForeignError` or `UnreadableError`.
    """
    try:
        held.extend(starmap(os.open, ((path, _OPEN),)))
    except OSError as error:
        if error.errno not in _OF_ONE_FILE:
            raise
        # Fails again where the directory is at fault.
        check_regular(os.lstat(path), path)
        raise _unreadable(path, f"{error.strerror}") from error


def check_regular(status: os.stat_result, path: bytes) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "a device")
        name = os.fsdecode(os.path.basename(path))
        raise ForeignError(errno.EEXIST, f"{name!r} is {kind} and no record: remove it")


def _unreadable(path: bytes, reason: str) -> UnreadableError:
    return UnreadableError(errno.EACCES, f"{os.fsdecode(os.path.basename(path))!r}: {reason}")


def all_of(descriptor: int, path: bytes, largest: int) -> tuple[bytes, os.stat_result]:
    """
    Return the content of a regular file of at most *largest* bytes, and its status.

    The status comes last: a time of ours in it means that nobody else wrote to the file before.
    """
    # A bounded read, even of a special file. Most records fit into it.
    data = _part(descriptor, path, _CHUNK, 0)
    status = os.fstat(descriptor)
    check_regular(status, path)
    wanted = _CHUNK
    while len(data) == wanted:
        if (size := max(status.st_size, wanted)) > largest:
            raise _unreadable(path, f"it has {size} bytes, a record has {largest} at most")
        # A little more than the size: another program may be writing.
        wanted = size + _CHUNK
        data += _part(descriptor, path, wanted - len(data), len(data))
        status = os.fstat(descriptor)
    return data, status


def _part(descriptor: int, path: bytes, size: int, offset: int) -> bytes:
    try:
        return os.pread(descriptor, size, offset)
    except OSError as error:
        pass_on_interruption(error)
        check_regular(os.fstat(descriptor), path)
        raise _unreadable(path, f"{error.strerror}") from error
