"""
Records that cannot be read, or should not be.
"""

from __future__ import annotations

import pytest

from ... import Capability, ContentDisallowed, SerializationError, TaskError, WaitTimeoutError
from ...aio import Results
from ..promises import promise
from ..proof import PATIENCE, has
from ..samples import BOMB, DAMAGED, MARKS, NAMES_A_CALL, READABLE
from .case import Case


class Damage(Case):
    """Promises 5 and 6."""

    @promise(6)
    @pytest.mark.parametrize("name", DAMAGED)
    async def test_damaged_record(self, results: Results, name: str) -> None:
        """A record that cannot be read carries its error, and breaks no reader."""
        self.plant(name, DAMAGED[name])
        await results.store_result("fine", 1)
        metas = await results.get_many([name, "fine", "nothing"])

        assert [name, "fine", "nothing"] == list(metas)
        assert isinstance(metas[name].error, SerializationError)
        assert repr(name) in str(metas[name].error)
        assert ("SUCCESS" if name in READABLE else "PENDING") == metas[name].status
        if has(results, Capability.SCAN):
            assert {name, "fine"} == {meta.task_id async for meta in results.scan()}

    @promise(6, 1)
    @pytest.mark.parametrize("name", DAMAGED)
    async def test_wait_for_damaged_record(self, results: Results, name: str) -> None:
        """A record with a readable state is ready and protected; any other counts as absent."""
        self.plant(name, DAMAGED[name])
        if name in READABLE:
            with pytest.raises(SerializationError):
                await results.AsyncResult(name).get(timeout=PATIENCE)
            assert not await results.store_result(name, "new")
        else:
            with pytest.raises(WaitTimeoutError):
                await results.wait_for(name, 0.05)
            assert await results.store_result(name, "new")
            assert "new" == await results.get_result(name)

    @promise(6)
    async def test_damaged_among_many(self, results: Results) -> None:
        """A stream of results passes over unreadable records."""
        for name, record in DAMAGED.items():
            self.plant(name, record)
        await results.store_many({"a": 1, "b": 2})
        ids = {"a", "b", *READABLE}
        metas = {meta.task_id: meta async for meta in results.as_completed(ids, timeout=PATIENCE)}

        assert ids == set(metas)
        assert {"a", "b"} == {id_ for id_, meta in metas.items() if meta.error is None}

    @promise(5)
    async def test_pickle_is_refused(self, results: Results) -> None:
        """
        Pickle is refused before loading unless the reader accepts it; the error names the option.
        """
        MARKS.clear()
        self.plant("t", BOMB)
        meta = await results.get_task_meta("t")
        with pytest.raises(ContentDisallowed, match="accept="):
            _ = meta.result
        assert not await results.store_result("t", "late")
        with pytest.raises(ContentDisallowed):
            await results.AsyncResult("t").get(timeout=PATIENCE)

        assert [] == MARKS

    @promise(5)
    async def test_nothing_is_called(self, results: Results) -> None:
        """A class that a record names as the failure's type is neither looked up nor called."""
        MARKS.clear()
        self.plant("t", NAMES_A_CALL)
        with pytest.raises(TaskError, match="x"):
            await results.AsyncResult("t").get(timeout=PATIENCE)

        assert [] == MARKS
