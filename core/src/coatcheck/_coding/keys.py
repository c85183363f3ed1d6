"""
The keys that sign and encrypt records: where they are read from, and never shown.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

#: Fewer bytes than these could be guessed.
MIN_BYTES: Final = 32
#: The form of names of keys. The name is stored with every record.
_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}\Z")
#: Where text may say that the keys are: a variable of the environment, or a file.
_ENVIRONMENT: Final = "env:"
_FILE: Final = "file:"
_MAKE: Final = "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"


class Keys:
    """Secrets by the name of the key. The first one writes, all of them read."""

    __slots__ = ("_derived", "_secrets")

    def __init__(self, secrets: Iterable[tuple[object, object]]) -> None:
        self._secrets: dict[str, bytes] = {}
        self._derived: dict[tuple[str, bytes], bytes] = {}
        for name, secret in secrets:
            if not isinstance(name, str) or not _ID.match(name):
                raise ValueError("a key's name has 1 to 64 letters, digits, dots, - and _")
            if name in self._secrets:
                raise ValueError(f"the key {name!r} is given twice")
            self._secrets[name] = _checked(name, secret)
        if not self._secrets:
            raise ValueError("no key is given: write name:secret")

    def __repr__(self) -> str:
        return f"<Keys {', '.join(self._secrets)}>"

    def __reduce__(self) -> Any:
        raise TypeError("keys are not pickled: give them to each process by its environment")

    def __iter__(self) -> Iterator[str]:
        return iter(self._secrets)

    def __contains__(self, name: object) -> bool:
        return name in self._secrets

    @property
    def first(self) -> str:
        """The name of the key that writes."""
        return next(iter(self._secrets))

    def derived(self, name: str, purpose: bytes) -> bytes:
        """Return the 32 bytes that the key *name* stands for, other ones for each *purpose*."""
        found = self._derived.get((name, purpose))
        if found is None:
            import hmac  # noqa: PLC0415 - only for those who have keys

            found = hmac.digest(self._secrets[name], b"coatcheck 1 " + purpose, "sha256")
            self._derived[name, purpose] = found
        return found


def _checked(name: str, secret: object) -> bytes:
    data = secret.encode() if isinstance(secret, str) else secret
    if not isinstance(data, bytes):
        raise ValueError(f"the secret of the key {name!r} has to be str or bytes")  # noqa: TRY004 - of an option
    if len(data) < MIN_BYTES:
        raise ValueError(f"the secret of the key {name!r} has less than {MIN_BYTES} bytes; {_MAKE}")
    return data


def is_reference(value: object) -> bool:
    """Whether *value* says where keys are, and holds none."""
    return isinstance(value, str) and value.startswith((_ENVIRONMENT, _FILE))


def read(value: object) -> Keys | None:
    """
    Return the keys in *value*. Raises `ValueError`, which shows no secret.

    Args:
        value: a mapping of names to secrets, or pairs of them; "env:NAME" for the text in that
            environment variable; "file:/path" for the text in that file; or text: name:secret, once or
            several times, with white space or commas between. `None` for no keys.
    """
    if value is None or isinstance(value, Keys):
        return value
    if isinstance(value, Mapping):
        return Keys(value.items())
    if isinstance(value, str):
        return Keys(_pairs(_referred(value)))
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return Keys(_pair(item) for item in value)
    raise ValueError("give a mapping of names to secrets, env:NAME or file:/path")


def _referred(text: str) -> str:
    if text.startswith(_ENVIRONMENT):
        name = text.removeprefix(_ENVIRONMENT)
        found = os.environ.get(name)
        if not found:
            raise ValueError(f"the environment variable {name} is not set")
        return found
    if text.startswith(_FILE):
        path = text.removeprefix(_FILE)
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes long to import
                return file.read()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ValueError(f"the file {path} cannot be read: {reason}") from None
    return text


def _pairs(text: str) -> Iterator[tuple[object, object]]:
    for line in text.splitlines():
        if not line.lstrip().startswith("#"):
            yield from map(_pair, line.replace(",", " ").split())


def _pair(item: object) -> tuple[object, object]:
    if isinstance(item, str):
        name, colon, secret = item.partition(":")
        if not colon:
            raise ValueError("a key is written name:secret")
        return name, secret
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return item[0], item[1]
    raise ValueError("a key is written name:secret")
