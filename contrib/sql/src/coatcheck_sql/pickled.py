"""
Pickles of plain data, as Celery up to 5.6 writes them into its tables.

Anything else in a pickle is refused before it is looked up, called or imported.
"""

from __future__ import annotations

import decimal
import io
import pickle
import re
import uuid
from collections import Counter, OrderedDict
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta, timezone
from itertools import chain
from typing import Any, ClassVar, Final

from coatcheck.plugin import pass_on_interruption

_HEAD: Final = re.compile(rb"\x80[\x02-\x05]")
#: Celery's classes of results, which its groups contain.
_RESULTS: Final = ("GroupResult", "ResultSet", "AsyncResult")
#: The largest pickle that is read, in bytes.
_LIMIT: Final = 64 * 1024 * 1024
#: The number of containers that a pickle may make, and of values that a walk through them may visit.
_MOST: Final = 2**20
#: How many parts a key may have, and how many keys one hash.
_PARTS: Final = 1000
_FEW: Final = 32
#: The types whose hashes nobody can choose.
_UNCHOSEN: Final = frozenset({str, bytes, bool, type(None)})


class Refused(ValueError):  # noqa: N818 - it is a decision
    """The data is not a pickle, or holds more than plain data."""


def recognised(data: bytes) -> bool:
    """Whether *data* starts like a pickle."""
    return _HEAD.match(data) is not None


def loads(data: bytes) -> Any:
    """Return the plain data in *data*. Raises `Refused` for anything else."""
    return _load(data, _PLAIN)


def group(data: bytes) -> list[Any]:
    """Return the nested pairs of the group that Celery pickled. Raises `Refused`."""
    found = _load(data, _IN_GROUPS)
    return found.pairs() if isinstance(found, _Result) else found


def _load(data: bytes, known: dict[tuple[str, str], Any]) -> Any:
    if len(data) > _LIMIT:
        raise Refused("it is too large")
    try:
        found = _Unpickler(data, known).load()
        _check_weight(found)
    except Refused:
        raise
    except Exception as error:
        pass_on_interruption(error)
        raise Refused(f"{type(error).__name__}: {error}") from error
    return found


#: The unpickler that is written in Python: the one in C cannot be stopped.
_PYTHONS: Any = vars(pickle)["_Unpickler"]


class _Unpickler(_PYTHONS):
    """
    Reads as Python's own, but refuses pickles that take more memory or time than their length suggests:
    with many containers of a byte each, with keys of the same hash or nested keys, or with false lengths.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(_PYTHONS.dispatch)

    def __init__(self, data: bytes, known: dict[tuple[str, str], Any]) -> None:
        super().__init__(io.BytesIO(data))
        self._known = known
        self._made = 0
        self._alike: Counter[tuple[int, int]] = Counter()

    def _count(self) -> None:
        self._made += 1
        if self._made > _MOST:
            raise Refused("it holds too much")

    def _check_keys(self, container: object, keys: Iterable[object]) -> None:
        for key in keys:
            if type(key) not in _UNCHOSEN:
                _check_key(key)
                mark = (id(container), hash(key))
                self._alike[mark] += 1
                if self._alike[mark] > _FEW:
                    raise Refused("too many of its keys have the same hash")

    def _load_mark(self) -> None:
        self._count()
        self.load_mark()

    def _load_list(self) -> None:
        self._count()
        self.load_empty_list()

    def _load_dictionary(self) -> None:
        self._count()
        self.load_empty_dictionary()

    def _load_set(self) -> None:
        self._count()
        self.load_empty_set()

    def _load_setitem(self) -> None:
        self._check_keys(self.stack[-3], [self.stack[-2]])
        self.load_setitem()

    def _load_setitems(self) -> None:
        self._check_keys(self.metastack[-1][-1], self.stack[::2])
        self.load_setitems()

    def _load_dict(self) -> None:
        self._check_keys(self.stack, self.stack[::2])
        self.load_dict()

    def _load_additems(self) -> None:
        self._check_keys(self.metastack[-1][-1], self.stack)
        self.load_additems()

    def _load_frozenset(self) -> None:
        self._check_keys(self.stack, self.stack)
        self.load_frozenset()

    def _refuse(self) -> None:
        raise Refused("it holds what a result of Celery's does not")

    dispatch |= {
        pickle.MARK[0]: _load_mark,
        pickle.EMPTY_LIST[0]: _load_list,
        pickle.EMPTY_DICT[0]: _load_dictionary,
        pickle.EMPTY_SET[0]: _load_set,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
        pickle.ADDITEMS[0]: _load_additems,
        pickle.FROZENSET[0]: _load_frozenset,
    }
    for _code in (pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8, pickle.NEXT_BUFFER):
        dispatch[_code[0]] = _refuse

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._known[module, name]
        except KeyError:
            if self._known is _IN_GROUPS and module.startswith(_BACKENDS):
                return _nothing
            raise Refused(f"it names {module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("it refers to something outside of it")


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return chain(value.keys(), value.values())
    if isinstance(value, _Result):
        return value.args
    return value if isinstance(value, (list, tuple, set, frozenset)) else ()


def _check_key(key: object) -> None:
    """
    Refuse a key with too many parts, because its hash would take long. A tuple may hold another one twice, and
    so on.
    """
    todo = [key]
    for _ in range(_PARTS):
        if not todo:
            return
        todo += _children(todo.pop())
    raise Refused("a key of it has too many parts")


def _check_weight(value: object) -> None:
    """Refuse a value if a walk through it would visit too many values."""
    weights: dict[int, int] = {}
    todo = [(value, False)]
    while todo:
        at, seen = todo.pop()
        if seen:
            weights[id(at)] = 1 + sum(weights[id(child)] for child in _children(at))
        elif id(at) not in weights:
            weights[id(at)] = _MOST + 1  # for values that contain themselves
            todo.append((at, True))
            todo += ((child, False) for child in _children(at))
    if weights[id(value)] > _MOST:
        raise Refused("it holds too much, or itself")


class _Result:
    """Stands for Celery's result of a group or a task: its id, and those of its members."""

    def __init__(self, *args: Any) -> None:
        self.args = args

    def pairs(self) -> list[Any]:
        """Return `[[id, parent], members]`."""
        members = self.args[1] if len(self.args) > 1 else None
        own = self.args[0] if self.args else None
        if not isinstance(own, str):
            raise Refused("it is not a group")
        if not isinstance(members, (list, tuple)):
            return [[own, None], None]
        return [[own, None], [m.pairs() for m in members if isinstance(m, _Result)]]


def _nothing(*args: Any, **options: Any) -> None:
    """Stand for the backend that Celery's groups contain, with its URL and its password."""


def _of_application(name: str, args: Any) -> _Result:
    """Stand for the function that looks a class up in Celery's application."""
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


def _members(members: Any = ()) -> list[Any]:
    if not isinstance(members, (list, tuple)):
        raise Refused("it makes a set of something else")
    for member in members:
        _check_key(member)
    hashes = Counter(hash(member) for member in members if type(member) not in _UNCHOSEN)
    if any(number > _FEW for number in hashes.values()):
        raise Refused("too many of its members have the same hash")
    return list(members)


def _set(*members: Any) -> set[Any]:
    return set(_members(*members))


def _frozenset(*members: Any) -> frozenset[Any]:
    return frozenset(_members(*members))


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    _members([key for key, _ in pairs])
    return OrderedDict(pairs)


_PLAIN: Final[dict[tuple[str, str], Any]] = {
    ("datetime", "datetime"): datetime,
    ("datetime", "date"): date,
    ("datetime", "time"): time,
    ("datetime", "timedelta"): timedelta,
    ("datetime", "timezone"): timezone,
    ("decimal", "Decimal"): decimal.Decimal,
    ("uuid", "UUID"): uuid.UUID,
    ("collections", "OrderedDict"): _ordered,
    ("builtins", "set"): _set,
    ("builtins", "frozenset"): _frozenset,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): _bytearray,
    ("__builtin__", "set"): _set,
    ("__builtin__", "frozenset"): _frozenset,
    ("__builtin__", "complex"): complex,
    ("__builtin__", "bytearray"): _bytearray,
    ("_codecs", "encode"): _encode,
}
_OF_GROUPS: Final[dict[tuple[str, str], Any]] = {
    ("celery.app.base", "_unpickle_appattr"): _of_application,
    ("celery.backends.base", "unpickle_backend"): _nothing,
    **{("celery.result", name): _Result for name in _RESULTS},
}
#: The packages of Celery's backends. Their names are recognised, and not looked up.
_BACKENDS: Final = "celery.backends."
_IN_GROUPS: Final = {**_PLAIN, **_OF_GROUPS}
