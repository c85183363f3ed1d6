"""
The backend against a model, in sequences that hypothesis makes up.
"""

from __future__ import annotations

from ..machine import check
from ..promises import promise
from ..sides import apart
from .case import Case


class Modelled(Case):
    """
    Promises 1, 3 and 7, in any order.
    """

    @promise(1, 3, 7)
    async def test_model(self) -> None:
        """
        Whatever is put, matched, read, deleted, scanned and expired, in whatever order, comes to
        the same as in a dict.
        """

        def run() -> None:
            with self.blocking_backend() as backend:
                check(backend)

        await apart(run)
