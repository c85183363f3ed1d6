"""
What the tests of the synchronous contract have in common.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..._results.results import Results
from ..checked import Checked


class Case(Checked):
    """
    A store, and a client of it under test.
    """

    @pytest.fixture
    def results(self) -> Iterator[Results]:
        """
        The client under test.
        """
        with self.recorded(self.sync_results()) as results:
            yield results

    def _client(self) -> Results:
        return self.sync_results()
