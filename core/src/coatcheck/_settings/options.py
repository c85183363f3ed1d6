"""
The table of options that all results have: type, meaning, reader and default of each.

The signatures of `by_url` and its siblings repeat the names and types, because editors complete those best.
A test holds both, and the page of options in the documentation, against this table.
"""

import difflib
import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Final, NamedTuple, TypedDict

from .. import states
from .._coding import keys
from .._coding.codec import DEFAULT_ACCEPT
from .._coding.compression import MAX_INFLATED
from .._coding.keys import Keys
from .._coding.limits import MAX_VALUES
from .._coding.sealing import DEFAULT_COMPRESS_OVER
from .._coding.serializers import Serializer
from ..errors import ConfigurationError
from .durations import Expires, optional_seconds, seconds
from .readers import boolean, count, optional_text, size, text, words
from .url import MASK

#: Keys: names and secrets, or where they are.
KeysGiven = Mapping[str, str | bytes] | Iterable[str | tuple[str, str | bytes]] | str | Keys | None


class Default(enum.Enum):
    """The type of `DEFAULT`."""

    DEFAULT = "DEFAULT"

    def __repr__(self) -> str:
        return "DEFAULT"


#: In place of an option: use the value that is configured elsewhere. As `expires` of one call: use the
#: lifetime of the `Results`.
DEFAULT: Final = Default.DEFAULT


class Option(NamedTuple):
    """What an option does with its values."""

    #: Returns the value that text or an object stands for. Raises `ValueError`.
    read: Callable[[Any], Any]
    default: Any
    #: Whether a configuration file may give a value although nobody named the file, see `trust`. `None`: it
    #: may give any value.
    harmless: Callable[[Any], bool] | None = None


class CodecOptions(TypedDict, total=False):
    """The options of `Options` that concern how records are encoded."""

    serializer: Annotated[
        str | Serializer, Option(text, "json", lambda value: value in DEFAULT_ACCEPT)
    ]
    """Writes values: `json`, `msgpack`, `pickle`, or the name of a plugin's serializer."""

    accept: Annotated[
        Iterable[str],
        Option(words, DEFAULT_ACCEPT, lambda value: set(words(value)) <= set(DEFAULT_ACCEPT)),
    ]
    """
    The serializers that may be read. Pickle can run any code: accept it only from writers you
    trust.
    """

    strict: Annotated[bool, Option(boolean, default=False)]
    """Refuse values that would be read as another type, tuples included."""

    unsafe_pickle: Annotated[
        bool, Option(boolean, default=False, harmless=lambda value: not boolean(value))
    ]
    """
    Write pickle without a signature. Anyone who can write to the store can then run code in its
    readers.
    """

    trusted_exceptions: Annotated[
        Iterable[str | type[Exception]], Option(words, (), lambda value: not words(value))
    ]
    """
    The exception classes that `get()` may raise: classes, `package.module.Class`, or `package.` for
    all below it. Only modules that are already imported are searched.
    """

    compression: Annotated[str | None, Option(optional_text, None)]
    """Compress records: `zstd`, `zlib`, or `celery` for a form that Celery reads."""

    compress_over: Annotated[int, Option(size, DEFAULT_COMPRESS_OVER)]
    """Records larger than this many bytes are compressed."""

    max_inflated: Annotated[
        int, Option(size, MAX_INFLATED, lambda value: size(value) <= MAX_INFLATED)
    ]
    """
    The most bytes that a compressed record may have after decompression. 32 times its stored size
    is always allowed.
    """

    max_values: Annotated[int, Option(count, MAX_VALUES, lambda value: count(value) <= MAX_VALUES)]
    """The most values in a record: items of lists, and values of mappings."""

    signing_keys: Annotated[KeysGiven, Option(keys.read, None, lambda _: False)]
    """
    Sign records: `env:NAME`, `file:/path`, or a mapping of names to secrets. The first key signs,
    all of them verify, other records are refused.
    """

    encryption_keys: Annotated[KeysGiven, Option(keys.read, None, lambda _: False)]
    """Encrypt records. Give the keys in the same way."""

    accept_unsigned: Annotated[
        bool, Option(boolean, default=False, harmless=lambda value: not boolean(value))
    ]
    """Also read unsigned records although keys are configured."""


class Options(CodecOptions, total=False):
    """The options that the results of all stores have. A store may have more."""

    expires: Annotated[Expires, Option(optional_seconds, 86_400.0)]
    """How long records live: seconds, a `timedelta`, or `None` to keep them."""

    protect: Annotated[Iterable[str], Option(words, states.READY_STATES)]
    """The states whose record is never replaced. Celery's rule is `SUCCESS`."""

    key_prefix: Annotated[str, Option(str, "celery-task-meta-")]
    """The prefix of keys in key-value stores. Other stores refuse it."""

    safety_look: Annotated[float, Option(seconds, 5.0)]
    """A wait reads its task again after this many seconds, although the store would notify it."""

    operation_timeout: Annotated[float, Option(seconds, 5.0)]
    """
    How many seconds one store or read may take, with its repeats. A wait with `timeout=0`
    is one read.
    """

    read_only: Annotated[bool, Option(boolean, default=False)]
    """Refuse to write. Lost workers are still noticed."""

    types: Iterable[type]
    """
    The classes whose instances are stored as plain data: dataclasses, enums, models of pydantic, structs of
    msgspec. Only in Python.
    """

    plugins: Iterable[object]
    """
    Objects with hooks that observe operations, in addition to the installed ones. Only in Python.
    """


#: The table: each option that text can give.
OPTIONS: Final[Mapping[str, Option]] = {
    name: hint.__metadata__[0]
    for name, hint in Options.__annotations__.items()
    if hasattr(hint, "__metadata__")
}
#: The same, with the function that reads each.
CORE_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    name: option.read for name, option in OPTIONS.items()
}
DEFAULTS: Final[Mapping[str, Any]] = {name: option.default for name, option in OPTIONS.items()}
#: The options of the encoding.
CODEC_OPTIONS: Final = frozenset(CodecOptions.__annotations__)
#: Those whose values are secrets.
KEY_OPTIONS: Final = tuple(name for name, option in OPTIONS.items() if option.read is keys.read)


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
    known = sorted({*known, *OPTIONS})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{where} has no option {name!r}: {hint}It has: {', '.join(known)}"
