"""
Waiting for a change, as a web page does that shows a task.
"""

from __future__ import annotations

import json

import pytest

from ... import Results as SyncResults
from ... import WaitTimeoutError
from ...aio import Results
from ..promises import promise
from ..proof import PATIENCE
from ..sides import pause, start
from .case import Case


class Changes(Case):
    """Promises 2 and 11."""

    @promise(2)
    async def test_a_wait_for_each_change(self, results: Results, other: SyncResults) -> None:
        """Each change ends a wait, one that came before the wait too; a ready record changes no more."""
        unknown = await results.get_task_meta("t")
        waiting = start(results.wait_for_change(unknown, PATIENCE))
        await pause(0.05)
        other.mark_as_started("t")
        started = await waiting
        other.update_state("t", "PROGRESS", {"current": 1})
        progress = await results.wait_for_change(started, PATIENCE)
        waiting = start(results.wait_for_change(progress, PATIENCE))
        await pause(0.05)
        other.store_result("t", 1)
        ready = await waiting

        metas = [unknown, started, progress, ready]
        assert ["PENDING", "STARTED", "PROGRESS", "SUCCESS"] == [meta.status for meta in metas]
        assert 4 == len({meta.change_token for meta in metas})
        assert ready is await results.wait_for_change(ready)
        assert ready.change_token == other.get_task_meta("t").change_token
        assert json.dumps(ready.as_json()) == json.dumps(other.get_task_meta("t").as_json())

    @promise(2, 11)
    async def test_what_is_no_change(self, results: Results, other: SyncResults) -> None:
        """A heartbeat is no change; that the record has gone is one."""
        beats = [{"every": 60, "beat": number} for number in range(3)]
        await results.store_result("t", None, "STARTED", heartbeat=beats[0])
        started = await results.get_task_meta("t")
        waiting = start(results.wait_for_change(started, PATIENCE))
        for beat in beats[1:]:
            await pause(0.05)
            other.store_result("t", None, "STARTED", heartbeat=beat)
        later = await results.get_task_meta("t")
        with pytest.raises(WaitTimeoutError):
            await results.wait_for_change(later, 0)
        other.update_state("t", "PROGRESS", {"current": 1})

        assert (beats[2], started.change_token) == (later.heartbeat, later.change_token)
        changed = await waiting
        assert "PROGRESS" == changed.status
        assert other.forget("t")
        assert not (await results.wait_for_change(changed, PATIENCE)).known
