"""
The backend against a model, in sequences that hypothesis generates.
"""

from __future__ import annotations

from ..machine import check
from ..promises import promise
from ..sides import apart
from .case import Case


class Modelled(Case):
    """Promises 1, 3 and 7, in any order."""

    @promise(1, 3, 7)
    async def test_model(self) -> None:
        """Every sequence of puts, matches, reads, deletions, scans and expiries equals a dict's."""

        def run() -> None:
            with self.blocking_backend() as backend:
                check(backend)

        await apart(run)
