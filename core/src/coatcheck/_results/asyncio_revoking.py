"""
Revoking tasks in asyncio, see `coatcheck._results.revoking`.
"""

from __future__ import annotations

from .._settings.durations import Expires
from .._settings.options import DEFAULT, Default
from ..errors import UnsupportedError
from .asyncio_reading import Reads
from .asyncio_storing import Storing


class Revoking(Storing, Reads):
    """The method of `Results` that revokes."""

    async def revoke(
        self, task_id: str, reason: str = "revoked", *, expires: Expires | Default = DEFAULT
    ) -> bool:
        """See `coatcheck.Results.revoke`."""
        try:
            observed = await self.get_task_meta(task_id)
        except UnsupportedError:
            observed = self._codec.unknown(task_id)
        return await self._put(self._writer.revoked(observed, reason, expires))
