"""
What the tests of the synchronous contract have in common.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ...results import Results
from ..proof import Proof


class Case(Proof):
    """
    A store, and a client of it under test.
    """

    @pytest.fixture
    def results(self) -> Iterator[Results]:
        """
        The client under test.
        """
        with self.sync_results() as results:
            yield results
