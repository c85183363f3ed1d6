"""
Why a serializer refused a document: the path of the value at fault, and the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final, cast

from .._record.texts import safe_repr, safe_str
from .._runtime.bare import is_a, items_of, module_of, name_of
from .._runtime.interruptions import is_of_its_own, pass_on_interruption
from ..errors import EncodeError, PluginError
from . import jsontags

_MAX_PATH_DEPTH: Final = 64


def pass_on(error: BaseException) -> None:
    """Raise *error* again unless the value that was encoded raised it."""
    if not is_of_its_own(error):
        pass_on_interruption(error)
        raise error


def refusal(
    serializer: str, document: object, error: BaseException, dumps: Callable[[object], object]
) -> EncodeError:
    """
    Return the `EncodeError` that names the value for which *dumps* raised *error*.

    Raise *error* itself if no value is at fault: a package is missing, or something else raised it in
    this thread.
    """
    if isinstance(error, PluginError):
        raise error
    pass_on(error)
    path, value, cause = _culprit(document, error, dumps)
    if cause is error and module_of(type(error)) != "builtins" and passes(document, dumps):
        raise error
    return EncodeError(serializer, path, _reason(value, cause))


def _culprit(
    value: object, error: BaseException, dumps: Callable[[object], object]
) -> tuple[str, object, BaseException]:
    """Follow the first child that cannot be encoded alone, down to the culprit."""
    path = "the record"
    above: set[int] = set()
    while id(value) not in above and len(above) < _MAX_PATH_DEPTH:
        above.add(id(value))
        for step, child in _children(value):
            try:
                dumps({"value": child})
            except BaseException as cause:  # noqa: BLE001 - any exception means a culprit
                pass_on(cause)
                path = str(step) if path == "the record" else f"{path}[{safe_repr(step, 200)}]"
                value, error = child, cause
                break
    return path, value, error


def passes(document: object, dumps: Callable[[object], object]) -> bool:
    """Whether *dumps* encodes a mapping that holds *document*."""
    try:
        dumps({"value": document})
    except BaseException as error:  # noqa: BLE001 - any exception is an answer
        pass_on(error)
        return False
    return True


def _children(value: object) -> Iterable[tuple[object, object]]:
    if is_a(value, dict):
        return [*dict.items(cast("dict[object, object]", value))]
    return enumerate(items_of(value))


def _reason(value: object, cause: BaseException) -> str:
    if isinstance(cause, RecursionError):
        return (
            "it is nested too deeply, or contains itself: "
            f"{jsontags.MAX_DEPTH} levels are possible, fewer where the stack has no room for them"
        )
    return f"{name_of(type(value))}: {safe_str(cause)}"
