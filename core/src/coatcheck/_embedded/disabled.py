"""
`disabled://`: for programs that want no results. Writes are dropped, reads raise.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Self

from .._backends.backend import KeyValueBackend, Unless
from .._settings.options import read_options
from .._settings.url import URL
from ..errors import UnsupportedError


class DisabledBackend(KeyValueBackend):
    """Keeps nothing, and says so to whoever asks."""

    PROTOCOL_VERSION = 1

    @classmethod
    def from_url(
        cls, url: URL, *, operation_timeout: float = 5.0, options: Mapping[str, Any] | None = None
    ) -> Self:
        del operation_timeout
        read_options({**url.query, **(options or {})}, {}, where=f"{url.scheme}://")
        return cls()

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        return True

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        return self._refuse()

    def delete_many(self, keys: Collection[str]) -> int:
        return 0

    def _refuse(self) -> NoReturn:
        raise UnsupportedError(
            "results are disabled (disabled://): nothing was stored, so nothing can be read; "
            "choose a backend, such as sqlite:///results.db, to keep them"
        )
