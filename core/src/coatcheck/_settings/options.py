"""
The options that all results and backends have, and how values are read.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from .._coding import keys
from ..errors import ConfigurationError
from .url import MASK

_TRUE: Final = frozenset({"1", "true", "yes", "on"})
_FALSE: Final = frozenset({"0", "false", "no", "off"})


def boolean(value: Any) -> bool:
    """
    Read a yes or no.
    """
    text = str(value).lower()
    if text in _TRUE | _FALSE:
        return text in _TRUE
    raise ValueError("use 1 or 0, true or false, yes or no")


def seconds(value: Any) -> float:
    """
    Read a positive number of seconds.
    """
    try:
        number = float(value.total_seconds() if hasattr(value, "total_seconds") else value)
    except (ValueError, TypeError, OverflowError):
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("use a positive number of seconds")
    return number


def optional_seconds(value: Any) -> float | None:
    """
    Read a positive number of seconds, or `None` or "none".
    """
    return None if value is None or str(value).lower() == "none" else seconds(value)


def words(value: Any) -> tuple[Any, ...]:
    """
    Read a list: a comma-separated text, or an iterable.
    """
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(",") if word.strip())
    return (value,) if isinstance(value, type) else tuple(value)


def size(value: Any) -> int:
    """
    Read a number of bytes.
    """
    text = "" if isinstance(value, bool) else str(value)
    if not (text.isascii() and text.isdecimal()):
        raise ValueError("use a whole number of bytes")
    return int(text)


def _count(value: Any) -> int:
    try:
        return size(value)
    except ValueError:
        raise ValueError("use a whole number") from None


def _optional_text(value: Any) -> Any:
    return None if value is None or str(value).lower() == "none" else _text(value)


def _text(value: Any) -> Any:
    if not value:
        raise ValueError("it must not be empty")
    return value


#: The options that `Results` has, and how each is read; those left go to the backend.
RESULTS_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "expires": optional_seconds,
    "serializer": _text,
    "accept": words,
    "strict": boolean,
    "unsafe_pickle": boolean,
    "trusted_exceptions": words,
    "compression": _optional_text,
    "compress_over": size,
    "max_inflated": size,
    "max_values": _count,
    "signing_keys": keys.read,
    "encryption_keys": keys.read,
    "accept_unsigned": boolean,
    "protect": words,
    "key_prefix": str,
    "safety_look": seconds,
    "read_only": boolean,
}
#: Those whose values are secrets.
KEY_OPTIONS: Final = ("signing_keys", "encryption_keys")
#: The options that every backend has.
BACKEND_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {"operation_timeout": seconds}


def read_options(
    given: Mapping[str, Any], known: Mapping[str, Callable[[Any], Any]], *, where: str
) -> dict[str, Any]:
    """
    Return *given* with each value read as *known* says.

    Raises `ConfigurationError` for an option that does not exist, naming the nearest one, and
    for a value that cannot be read. Values are not shown: they may be secrets.
    """
    options = {}
    for name, value in given.items():
        if name not in known:
            raise ConfigurationError(_unknown_option(name, known, where))
        try:
            options[name] = known[name](value)
        except (ValueError, TypeError, OverflowError) as error:
            reason = str(error).replace(repr(value), MASK)
            raise ConfigurationError(f"the option {name!r} of {where}: {reason}") from None
    return options


def _unknown_option(name: str, known: Iterable[str], where: str) -> str:
    known = sorted({*known, *RESULTS_OPTIONS, *BACKEND_OPTIONS})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{where} has no option {name!r}: {hint}It has: {', '.join(known)}"
