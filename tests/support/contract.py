"""
The contract for a store of which a test has but the URL: it is looked into by a second client.

A backend's own proof goes round the backend, see `coatcheck.testing`.
"""

from __future__ import annotations

from coatcheck.testing import AioBackendContract, BackendContract
from coatcheck.testing.proof import innermost


class ByClient:
    """
    Looks into the store by another client of ours.
    """

    def raw_get(self, key):
        with self.sync_results() as results:
            return innermost(results.backend).get_many([key]).get(key)

    def raw_put(self, key, value):
        with self.sync_results() as results:
            innermost(results.backend).put(key, value, unless=frozenset(), expires=None)


class Contract(ByClient, BackendContract):
    pass


class AioContract(ByClient, AioBackendContract):
    pass
