"""
Revoked tasks: who hears of it, and when.
"""

from __future__ import annotations

import pytest

from ... import Results as SyncResults
from ... import TaskRevokedError
from ...aio import Results
from ..promises import promise
from ..proof import PATIENCE
from ..sides import until
from .case import Case


class Revoking(Case):
    """Promises 1 and 11."""

    @promise(1, 11)
    async def test_a_revoked_task_learns_by_its_heartbeat(
        self, results: Results, other: SyncResults
    ) -> None:
        """Waiters hear of a revoke at once, and the task by its heartbeat; the record stays."""
        with pytest.raises(TaskRevokedError, match="enough"):
            async with results.running("t", heartbeat=0.05, name="resize") as task:
                await task.check()
                assert other.revoke("t", "enough")
                with pytest.raises(TaskRevokedError, match="enough"):
                    other.AsyncResult("t").get(timeout=PATIENCE)
                await until(task.check)
        meta = await results.get_task_meta("t")

        assert ("REVOKED", "resize", False) == (meta.status, meta.name, task.won)
        assert not await results.revoke("t", "again")
        assert not await results.store_result("t", "late")

    @promise(1)
    async def test_a_revoked_task_learns_when_it_asks(
        self, results: Results, other: SyncResults
    ) -> None:
        """Without a heartbeat a task learns by a check or by progress; one that is revoked first, too."""
        async with results.running("asks") as task:
            assert other.revoke("asks")
            with pytest.raises(TaskRevokedError):
                await task.check()
        async with results.running("progresses") as task:
            assert other.revoke("progresses")
            with pytest.raises(TaskRevokedError):
                await task.progress(1)
        assert await results.revoke("early")
        async with results.running("early", heartbeat=5) as task:
            with pytest.raises(TaskRevokedError):
                await task.check()
        async with results.running("over") as task:
            other.store_result("over", 1)
            await task.check()
            await task.progress(1)

        assert not await results.revoke("over")
        assert 1 == other.get_result("over")
