"""
The shape of a backend: its methods, their arguments and answers, and its declarations.

It is checked once for a proof, before anything else, so that a mistake is reported once and not by
every test that it breaks.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import textwrap
import traceback
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Generator, Iterator
from contextlib import suppress
from typing import Any, Final

from .. import aio
from .._backends.backend import (
    PROTOCOL_VERSION,
    Backend,
    BaseBackend,
    Capability,
    KeyValueBackend,
    stated_version,
)
from .._backends.bells import Bell
from .._backends.logs import Log
from .._backends.records import encoded
from .._record.meta import ResultMeta
from .._results.results import Results
from ..states import READY_STATES
from .awaited import driven
from .proof import innermost, record_of
from .threads import HangError, Started

#: The keyword arguments that core gives, by the method's name.
KEYWORDS: Final[dict[str, tuple[str, ...]]] = {
    "put": ("unless", "if_match", "expires"),
    "put_many": ("unless", "expires"),
    "append": ("unless", "if_match", "expires"),
}
#: How many arguments it gives by position.
POSITIONAL: Final = {
    "put": 2,
    "put_many": 1,
    "get_many": 1,
    "delete_many": 1,
    "watch": 1,
    "scan": 1,
    "append": 3,
    "get_log": 2,
}

#: A call: its name, the function that makes it, and the types it may return.
Call = tuple[str, Callable[[], Any], tuple[type, ...]]


def mistakes(results: Results | aio.Results, key_prefix: str) -> list[str]:
    """
    Return the mistakes in the shape of the backend of *results*, in sentences.

    The keys of the records that are tried start with *key_prefix*.
    """
    backend = innermost(results.backend)
    found = [*_declarations(backend), *_signatures(backend)]
    return found or Probe(results, backend, key_prefix).mistakes()


# -- declarations ----------------------------------------------------------------------------


def _declarations(backend: Any) -> Iterator[str]:
    cls: type = type(backend)
    if not issubclass(cls, Backend | aio.Backend):
        yield f"{cls.__name__} derives from none of coatcheck's classes of backends"
        return
    yield from _version(cls)
    if not isinstance(backend.capabilities, Capability):
        yield f"capabilities is {backend.capabilities!r}, and has to be a Capability"
    limit, unit = backend.max_value_bytes, backend.expires_resolution
    if limit is not None and (not isinstance(limit, int) or limit < 1_000):
        yield f"max_value_bytes is {limit!r}, and has to be None or a number of at least 1000"
    if not isinstance(unit, int | float) or not 0 <= unit <= 60:
        yield f"expires_resolution is {unit!r}, and has to be seconds, from 0 to 60"


def _version(cls: type) -> Iterator[str]:
    version, state = stated_version(cls), f"PROTOCOL_VERSION = {PROTOCOL_VERSION}"
    if version is None:
        yield f"{cls.__name__} states no version of the protocol: write {state} in its body"
    elif version != PROTOCOL_VERSION:
        yield f"{cls.__name__} states version {version} of the protocol; here it is {state}"
    elif not _is_literal(cls):
        yield f"{cls.__name__} takes PROTOCOL_VERSION from elsewhere: write {state}, a number"


def _is_literal(cls: type) -> bool:
    """Whether *cls*, if it states a version and has source, states a number."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return True
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    values = {
        target.id: node.value
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    return isinstance(values.get("PROTOCOL_VERSION", ast.Constant(1)), ast.Constant)


def _signatures(backend: Any) -> Iterator[str]:
    native = isinstance(backend, aio.Backend)
    for name in (*POSITIONAL, "purge", "close"):
        method = getattr(backend, name, None)
        if not callable(method):
            yield f"there is no method {name}()"
            continue
        if not native and inspect.iscoroutinefunction(method):
            yield f"{name}() is a coroutine function, in a backend for synchronous code"
        given = [None] * POSITIONAL.get(name, 0), dict.fromkeys(KEYWORDS.get(name, ()))
        try:
            inspect.signature(method).bind(*given[0], **given[1])
        except TypeError as error:
            names = ", ".join([*("..." for _ in given[0]), *(f"{key}=..." for key in given[1])])
            yield f"{name}({names}) cannot be called: {error}"


# -- answers ----------------------------------------------------------------------------------


class Probe:
    """Calls each operation once, with one record."""

    def __init__(
        self, results: Results | aio.Results, backend: BaseBackend[Any], key_prefix: str
    ) -> None:
        self._backend: Any = backend
        self._native = isinstance(backend, aio.Backend)
        #: The operation that goes on.
        self.at: str = ""
        self._won: Any = None
        self._got: Any = None
        self._bell: Any = None
        one, two = (f"shape-{uuid.uuid4()}" for _ in range(2))
        metas = [record_of(results, id_, "SUCCESS", 1) for id_ in (one, two)]
        if isinstance(backend, KeyValueBackend | aio.KeyValueBackend):
            self._keys = [key_prefix + one, key_prefix + two]
            self._values: list[Any] = [encoded(meta, backend.codec, None) for meta in metas]
            self._value_type: type = bytes
        else:
            self._keys, self._values, self._value_type = [one, two], metas, ResultMeta

    def mistakes(self) -> list[str]:
        """Make the calls, in a thread of their own, and return the mistakes in the answers."""
        try:
            found: list[str] = Started(
                asyncio.run if self._native else driven, self._run()
            ).answer()
        except HangError as hang:
            return [f"{self.at}() does not return: {hang}"]
        except BaseException as error:  # noqa: BLE001 - whatever a broken backend raises
            return [f"{self.at}() failed: {''.join(traceback.format_exception(error))}"]
        return found

    async def _run(self) -> list[str]:
        calls, answer = self._calls(), None
        with suppress(StopIteration):
            while True:
                self.at, call, kinds = calls.send(answer)
                answer = call()
                if self._native and self.at != "scan":
                    if not inspect.isawaitable(answer):
                        return [f"{self.at}() returned {answer!r}, and has to be a coroutine"]
                    answer = await answer
                if not isinstance(answer, kinds):
                    return [_wrong(self.at, answer, kinds)]
        return list(self._within())

    def _calls(self) -> Generator[Call, Any, None]:
        """Yield the calls one after the other, and receive the answer of each."""
        backend, keys, values = self._backend, self._keys, self._values
        how = {"unless": READY_STATES, "expires": 60.0}
        put, put_many = backend.put, backend.put_many
        yield "put", lambda: put(keys[0], values[0], **how), (bool,)
        self._won = yield "put_many", lambda: put_many([(keys[1], values[1])], **how), (list,)
        self._got = yield "get_many", lambda: backend.get_many([*keys, "absent"]), (dict,)
        seen = self._got.get(keys[0])
        yield "put", lambda: put(keys[0], values[0], **how, if_match=seen), (bool,)
        self._bell, rang = yield "watch", self._watch, (tuple,)
        yield "Bell.wait", (lambda: _later(rang)) if self._native else lambda: rang, (Collection,)
        if Capability.SCAN in backend.capabilities:
            iterator = AsyncIterator if self._native else Iterator
            yield "scan", lambda: backend.scan(keys[0]), (iterator,)
        if Capability.EVENTS in backend.capabilities:
            append = backend.append
            how = {"unless": frozenset(), "expires": 60}
            yield "append", lambda: append(keys[0], values[0], [b"{}"], **how), (int,)
            yield "get_log", lambda: backend.get_log(keys[0], 0), (Log,)
        yield "delete_many", lambda: backend.delete_many(keys), (int,)
        for name in ("purge", "close", "close"):
            yield name, getattr(backend, name), (int if name == "purge" else type(None),)

    def _watch(self) -> Any:
        if self._native:
            return self._watch_natively()
        with self._backend.watch(self._keys) as bell:
            return bell, bell.wait(0.01) if isinstance(bell, Bell) else ()

    async def _watch_natively(self) -> Any:
        async with self._backend.watch(self._keys) as bell:
            return bell, await bell.wait(0.01) if isinstance(bell, aio.Bell) else ()

    def _within(self) -> Iterator[str]:
        """Yield the mistakes inside the answers."""
        if [type(answer) for answer in self._won] != [bool]:
            yield f"put_many() returned {self._won!r} for one record: it returns a bool for each"
        for key, value in self._got.items():
            if type(key) is not str:
                yield f"get_many() returned the key {key!r}: its keys are text, as they were given"
            if not isinstance(value, self._value_type):
                wanted = self._value_type.__name__
                yield f"get_many() returned a value of type {type(value).__name__}, not {wanted}"
        if not isinstance(self._bell, aio.Bell if self._native else Bell):
            yield f"watch() gives {self._bell!r}, which derives from none of coatcheck's bells"
            return
        pushing: Any = self._bell.pushing
        if not isinstance(pushing, bool):
            yield f"Bell.pushing is {pushing!r}, and has to be a bool"


async def _later(value: Any) -> Any:
    return value


def _wrong(name: str, answer: Any, kinds: tuple[type, ...]) -> str:
    words = "nothing" if kinds == (type(None),) else f"a value of type {kinds[0].__name__}"
    return f"{name}() returned {answer!r}, and has to return {words}"
