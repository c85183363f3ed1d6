"""
The shape of the backend, which is tested first.
"""

from __future__ import annotations

import pytest

from ..promises import promise
from .case import AioCase


class Shape(AioCase):
    """
    What everything else takes for granted.
    """

    @promise(4)
    async def test_shape(self) -> None:
        """
        The backend states the protocol's version and what it can do; it has every method, with the
        arguments of the protocol, and each returns what it has to.
        """
        if found := self.mistakes():
            pytest.fail("\n- ".join(["the shape of the backend is wrong:", *found]), pytrace=False)
