"""
The shape of the backend, which is tested first.
"""

from __future__ import annotations

import pytest

from ..promises import promise
from .case import Case


class Shape(Case):
    """All other tests rely on this."""

    @promise(4)
    def test_shape(self) -> None:
        """
        The backend states its version and capabilities, and each method takes and returns the
        right things.
        """
        if found := self.mistakes():
            pytest.fail("\n- ".join(["the shape of the backend is wrong:", *found]), pytrace=False)
