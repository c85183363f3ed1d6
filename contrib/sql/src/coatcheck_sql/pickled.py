"""
Pickles, of which only plain data is built: what a Celery up to 5.6 writes into its tables.

Everything else is refused before it is looked up, let alone called or imported.
"""

from __future__ import annotations

import decimal
import io
import pickle
import re
import uuid
from collections import OrderedDict
from datetime import date, datetime, time, timedelta, timezone
from typing import Any, Final

_HEAD: Final = re.compile(rb"\x80[\x02-\x05]")
#: Celery's classes of results, which stand in its groups.
_RESULTS: Final = ("GroupResult", "ResultSet", "AsyncResult")
#: Above this nothing is read, in bytes.
_LIMIT: Final = 64 * 1024 * 1024


class Refused(ValueError):  # noqa: N818 - it is a decision
    """
    The pickle holds what is not plain data, or is none.
    """


def recognised(data: bytes) -> bool:
    """
    Whether *data* starts like a pickle.
    """
    return _HEAD.match(data) is not None


def loads(data: bytes) -> Any:
    """
    Return the plain data in *data*. Raises `Refused` for anything else.
    """
    return _load(data, _PLAIN)


def group(data: bytes) -> list[Any]:
    """
    Return the pairs, see `coatcheck.groups`, of the group that Celery pickled. Raises `Refused`.
    """
    found = _load(data, _IN_GROUPS)
    return found.pairs() if isinstance(found, _Result) else found


def _load(data: bytes, known: dict[tuple[str, str], Any]) -> Any:
    if len(data) > _LIMIT:
        raise Refused("it is too large")
    try:
        _check_memo(data)
        return _Unpickler(io.BytesIO(data), known).load()
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"{type(error).__name__}: {error}") from error


def _check_memo(data: bytes) -> None:
    """
    Refuse a pickle that keeps something under a number which it cannot have counted up to: as much
    memory would be taken, gigabytes for six bytes.
    """
    if b"r" not in data and b"p" not in data:
        return
    import pickletools  # noqa: PLC0415 - few read such rows

    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in _PUTS and (argument is None or argument > len(data)):
            raise Refused("it counts what it has not")


_PUTS: Final = frozenset({"PUT", "LONG_BINPUT"})


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, known: dict[tuple[str, str], Any]) -> None:
        super().__init__(file)
        self._known = known

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            if self._known is _IN_GROUPS and module.startswith(_BACKENDS):
                return _nothing
            raise Refused(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("it refers to something outside of it")


class _Result:
    """
    Stands for a result of Celery's, a group's or a task's: its id, and those of its members.
    """

    def __init__(self, *args: Any) -> None:
        self.args = args

    def pairs(self) -> list[Any]:
        """
        Return `[[id, parent], members]`.
        """
        members = self.args[1] if len(self.args) > 1 else None
        own = self.args[0] if self.args else None
        if not isinstance(own, str):
            raise Refused("it is not a group")
        if not isinstance(members, (list, tuple)):
            return [[own, None], None]
        return [[own, None], [m.pairs() for m in members if isinstance(m, _Result)]]


def _nothing(*args: Any, **options: Any) -> None:
    """
    Stand for what groups of Celery carry along: the backend, with its URL and its password.
    """


def _of_application(name: str, args: Any) -> _Result:
    """
    Stand for what looks a class up in Celery's application.
    """
    if name not in _RESULTS:
        raise Refused(f"it names {name}")
    return _Result(*args)


def _bytearray(data: Any = b"", *encoding: str) -> bytearray:
    # Of a number it would make as many bytes.
    if isinstance(data, str):
        return bytearray(_encode(data, *encoding))
    if not isinstance(data, bytes):
        raise Refused("it makes bytes of something else")
    return bytearray(data)


def _encode(text: str, encoding: str) -> bytes:
    # How protocol 2 writes bytes.
    if encoding not in ("latin1", "latin-1", "utf-8"):
        raise Refused(f"it names the encoding {encoding!r}")
    return text.encode(encoding)


_PLAIN: Final[dict[tuple[str, str], Any]] = {
    ("datetime", "datetime"): datetime,
    ("datetime", "date"): date,
    ("datetime", "time"): time,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): timezone,
    ("decimal", "Decimal"): decimal.Decimal,
    ("uuid", "UUID"): uuid.UUID,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): _bytearray,
    ("__builtin__", "set"): set,
    ("__builtin__", "frozenset"): frozenset,
    ("__builtin__", "complex"): complex,
    ("__builtin__", "bytearray"): _bytearray,
    ("_codecs", "encode"): _encode,
}
_OF_GROUPS: Final[dict[tuple[str, str], Any]] = {
    ("celery.app.base", "_unpickle_appattr"): _of_application,
    ("celery.backends.base", "unpickle_backend"): _nothing,
    **{("celery.result", name): _Result for name in _RESULTS},
}
#: Where the classes of backends are; they are named, and not looked up.
_BACKENDS: Final = "celery.backends."
_IN_GROUPS: Final = {**_PLAIN, **_OF_GROUPS}
