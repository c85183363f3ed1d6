"""
The file names of keys: the key itself if it can be a file name, else a hash.
"""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import suppress
from typing import Final

from .regular import ForeignError, UnreadableError, check_regular, with_file

#: How long the first line of a file with a hashed name, which holds the key, can be, in bytes.
LONGEST_KEY: Final = 16 * 1024 * 1024
_LONGEST_NAME: Final = 255
#: Finds the suffix of hashed names. One call into C: each read makes it.
is_hashed: Final = re.compile(rb"~[0-9a-f]{64}\Z").search
_KEY: Final = b"coatcheck-key "


def first_line(key: str) -> bytes:
    """Return the first line of a file with a hashed name."""
    return _KEY + key.encode().hex().encode() + b"\n"


def name_of(key: str) -> bytes:
    """Return the file name of *key*: the key itself if it can be one, else its head and a hash."""
    name = key.encode()
    if _is_name(name):
        return name
    # The head keeps the prefix: Celery's cleanup recognises its files by it.
    head = re.sub(rb"[^A-Za-z0-9_-]", b"_", name[:100])
    return head + b"~" + hashlib.sha256(name).hexdigest().encode()


def key_of(path: bytes, name: bytes) -> str | None:
    """Return the key of the file *name*; `None` if it has none."""
    return _hashed_key(path) if is_hashed(name) else _decoded(name)


def _is_name(name: bytes) -> bool:
    return (
        len(name) <= _LONGEST_NAME
        and not name.startswith(b".")
        and b"/" not in name
        and b"\0" not in name
        and not is_hashed(name)
    )


def _hashed_key(path: bytes) -> str | None:
    """Return the key of a file whose name is a hash: its first line."""
    try:
        line = with_file(path, _first_line)
    except (FileNotFoundError, ForeignError, UnreadableError):
        return None
    with suppress(ValueError):
        return _decoded(bytes.fromhex(line.removeprefix(_KEY).decode("ascii")))
    return None


def _first_line(descriptor: int, path: bytes) -> bytes:
    check_regular(os.fstat(descriptor), path)
    with open(descriptor, "rb", closefd=False) as file:
        return file.readline(LONGEST_KEY)


def _decoded(name: bytes) -> str | None:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return None
