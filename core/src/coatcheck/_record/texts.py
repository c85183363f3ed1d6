"""
Bounded text about objects whose own methods may fail or return endless text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from .._runtime.bare import is_a, name_of
from .._runtime.interruptions import is_of_its_own

#: The most characters of a traceback or message that are kept. The middle is cut.
MAX_TEXT: Final = 100_000


def safely(render: Callable[[object], str], value: object) -> str:
    try:
        return render(value)
    except BaseException as failed:
        # A broken __str__ must not hide the failure, no matter which exception it raises.
        if not is_of_its_own(failed):
            raise
        return f"<{name_of(type(value))}: {render.__name__}() failed>"


def safe_repr(value: object, limit: int = 2_000) -> str:
    """Return the `repr` of *value*, cut to *limit* characters, even if its `__repr__` fails."""
    return shortened(safely(repr, value), limit)


def safe_str(value: object, limit: int = 2_000) -> str:
    """Return the `str` of *value*, cut to *limit* characters, even if its `__str__` fails."""
    return shortened(safely(str, value), limit)


def text_of(value: object) -> str:
    """Return *value* if it is text, the empty text for `None`, and otherwise its bounded `repr`."""
    if is_a(value, str):
        return str.__str__(value)
    return "" if value is None else safe_repr(value)


def shortened(text: str, limit: int = MAX_TEXT) -> str:
    """
    Return *text* so that every serializer can hold it: a plain `str` without lone surrogates, cut to *limit*
    characters.
    """
    text = str.encode(text, "utf-8", "backslashreplace").decode()
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n... {len(text) - limit} characters left out ...\n{text[-half:]}"
