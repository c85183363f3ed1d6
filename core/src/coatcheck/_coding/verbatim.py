"""
Documents whose bytes are known, and are written again as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._record.meta import ResultMeta


class Verbatim(dict[str, Any]):
    """A document that an encoder writes as *data*, unchanged."""

    __slots__ = ("data",)

    def __init__(self, document: Mapping[str, Any], data: bytes) -> None:
        super().__init__(document)
        self.data = data


class SealedMeta(ResultMeta):
    """A snapshot from a store of fields, with an envelope in one of them."""

    __slots__ = ("fields",)

    #: As stored. No key has confirmed them; `result` is the envelope.
    fields: Mapping[str, Any]
