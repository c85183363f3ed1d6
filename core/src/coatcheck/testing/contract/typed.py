"""
Classes of the application: stored as plain data, and read as instances.
"""

from __future__ import annotations

import dataclasses
import enum

import pytest

from ... import EncodeError, ResultTypeError
from ... import Results as SyncResults
from ...aio import Results
from ..promises import promise
from .case import Case


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Part:
    colour: Colour
    sizes: list[int]


class Typed(Case):
    """Promise 4."""

    @promise(4)
    async def test_own_classes(self, results: Results, other: SyncResults) -> None:
        """Instances of listed classes are stored as plain data, which readers get as the type they want."""
        value = {"parts": [Part(Colour.RED, [1, 2])]}
        plain = {"parts": [{"colour": "red", "sizes": [1, 2]}]}
        async with self.new_results(types=[Part, Colour]) as writer:
            assert await writer.store_result("t", value)
        await results.store_result("plain", plain)
        with pytest.raises(EncodeError, match="types="):
            await results.store_result("refused", value)

        stored, same = self.raw_document("t"), self.raw_document("plain")
        assert stored is not None
        assert same is not None
        assert stored["result"] == same["result"]
        assert value == await results.AsyncResult("t", type=dict[str, list[Part]]).get()
        assert value == other.AsyncResult("t", type=dict[str, list[Part]]).get()
        assert plain == other.get_result("t")
        with pytest.raises(ResultTypeError) as caught:
            await results.AsyncResult("t", type=dict[str, list[Colour]]).get()
        assert "result['parts'][0]" == caught.value.path
