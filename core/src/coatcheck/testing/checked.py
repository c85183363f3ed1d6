"""
A proof whose backend has its shape checked before anything else.
"""

from __future__ import annotations

import traceback
from typing import Final

import pytest

from .._results.results import Results
from ..aio import Results as AioResults
from ..errors import CoatcheckError
from . import shape
from .proof import Proof

#: The test that has to pass before any other of a proof is of use.
SHAPE: Final = "test_shape"

_mistakes: dict[type, list[str]] = {}
_tested: dict[type, bool] = {}


class Checked(Proof):
    """
    Skips all tests but one if the backend has the wrong shape, since they would all report that.
    """

    @pytest.fixture(autouse=True)
    def _checked(self, _proof: None, request: pytest.FixtureRequest) -> None:
        # A test that runs without that one runs as it is.
        if request.function.__name__ == SHAPE or not _is_tested(type(self), request.session):
            return
        if found := self.mistakes():
            pytest.skip(f"the shape of the backend is wrong, as {SHAPE} says: {found[0][:100]}")

    def mistakes(self) -> list[str]:
        """Return the mistakes in the backend's shape; looks once for each proof."""
        cls = type(self)
        if cls not in _mistakes:
            _mistakes[cls] = self._find_mistakes()
        return _mistakes[cls]

    def _find_mistakes(self) -> list[str]:
        try:
            results = self._client()
        except CoatcheckError as error:
            return [str(error)]
        except Exception as error:  # noqa: BLE001 - whatever a broken backend raises
            return [f"no client can be made: {''.join(traceback.format_exception(error))}"]
        return shape.mistakes(results, self.key_prefix)

    def _client(self) -> Results | AioResults:
        raise NotImplementedError


def _is_tested(proof: type, session: pytest.Session) -> bool:
    if proof not in _tested:
        tests = (item for item in session.items if getattr(item, "cls", None) is proof)
        _tested[proof] = any(getattr(test, "originalname", "") == SHAPE for test in tests)
    return _tested[proof]
