"""
Marks tests that start a server, which are found by the functions that they and their fixtures call.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from support.contract import is_core_only
from support.processes import serve

TESTS = str(Path(__file__).parent)
# An installed member of the house observes; only its own tests want that.
os.environ["COATCHECK_PLUGINS"] = ""


def pytest_pycollect_makeitem(name: str, obj: object) -> list[pytest.Item] | None:
    """
    Collect only the core of the contract where that is asked for.
    """
    if not is_core_only() or not name.startswith("test") or not isinstance(obj, FunctionType):
        return None
    of_contract = obj.__module__.startswith("coatcheck.testing.")
    return [] if of_contract and not hasattr(obj, "contract_core") else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """
    Mark each test that starts a server, or whose fixtures do.
    """
    for item in items:
        if isinstance(item, pytest.Function) and any(map(starts_server, functions_of(item))):
            item.add_marker("server")


def functions_of(item: pytest.Function) -> list[Any]:
    """
    Return the functions of the test and of its fixtures, including fixtures requested by name.
    """
    known = item._fixtureinfo.name2fixturedefs
    functions, names = [function_in(item.function)], [*known, *asked_by_name(item.function, item)]
    for name in names:  # which grows
        asked = known.get(name) or item.session._fixturemanager.getfixturedefs(name, item) or ()
        for fixture in asked:
            function = function_in(fixture.func)
            functions.append(function)
            new = {*fixture.argnames, *asked_by_name(function, item)}
            names += new.difference(names)
    return functions


def asked_by_name(function: Any, item: pytest.Function) -> set[str]:
    """
    Return the words that a function may pass to `getfixturevalue`: its own and those of the parameters.
    """
    words = words_in(function)
    if "getfixturevalue" not in words:
        return set()
    params = item.callspec.params.values() if hasattr(item, "callspec") else ()
    words = words.union(*(re.findall(r"\w+", text) for text in params if isinstance(text, str)))
    return {*words, *(first + second for first in words for second in words if first[-1] == "_")}


@cache
def words_in(function: FunctionType) -> set[str]:
    """
    Return the words in the names, the texts and the globals of a function.
    """
    code = function.__code__
    used = [*constants_of(code), *(function.__globals__.get(name) for name in names_in(code))]
    texts = [*names_in(code), *(text for text in flat(used) if isinstance(text, str))]
    return set(re.findall(r"\w+", " ".join(texts)))


@cache
def starts_server(thing: FunctionType | type) -> bool:
    """
    Whether a function of the tests leads to `serve`.
    """
    reached = [thing]
    for step in reached:  # which grows
        reached += set(used_by(step)).difference(reached)
    return serve in reached


def used_by(thing: FunctionType | type) -> Iterator[FunctionType | type]:
    """
    Return the functions and classes of the tests that a function names or a class contains.
    """
    if isinstance(thing, FunctionType):
        named = flat(thing.__globals__.get(name) for name in names_in(thing.__code__))
    else:
        named = (function_in(value) for base in thing.__mro__ for value in vars(base).values())
    for found in named:
        if isinstance(found, type | FunctionType) and is_ours(found):
            yield found


def flat(values: Iterable[object], depth: int = 2) -> Iterator[object]:
    """
    Return values, and those in mappings and lists among them, which may hold themselves.
    """
    for value in values:
        yield value
        if depth and isinstance(value, Mapping):
            yield from flat(value.values(), depth - 1)
        elif depth and isinstance(value, list | tuple):
            yield from flat(value, depth - 1)


def is_ours(thing: FunctionType | type) -> bool:
    """
    Whether it is defined in this directory.
    """
    file = getattr(sys.modules.get(thing.__module__), "__file__", None) or ""
    return file.startswith(TESTS)


def function_in(thing: Any) -> Any:
    """
    Return the function of a method or property; anything else is returned as it is.
    """
    inner = getattr(thing, "__func__", None) or getattr(thing, "fget", None)
    return inspect.unwrap(inner or getattr(thing, "func", None) or thing)


def names_in(code: CodeType) -> Iterator[str]:
    """
    Return the names that a code uses, with those of the functions in it.
    """
    yield from code.co_names
    for inner in constants_of(code):
        if isinstance(inner, CodeType):
            yield from inner.co_names


def constants_of(code: CodeType) -> Iterator[object]:
    """
    Return the constants of a code, with those of the functions in it.
    """
    for constant in code.co_consts:
        yield constant
        if isinstance(constant, CodeType):
            yield from constants_of(constant)
