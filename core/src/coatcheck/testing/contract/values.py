"""
The stored value comes back, or the caller learns why not.
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from ... import EncodeError, ResultTooLargeError
from ... import Results as SyncResults
from ...aio import Results
from ...states import READY_STATES
from ..promises import core, needs, promise
from ..proof import ALL_SERIALIZERS, PATIENCE, has_keys, innermost
from ..samples import VALUES
from ..sides import answer_of, apart, pause, start
from .case import Case


class Values(Case):
    """Promise 4."""

    @promise(4)
    @pytest.mark.parametrize(("serializer", "value"), VALUES)
    async def test_round_trip(self, serializer: str, value: Any) -> None:
        """Every value comes back equal and of its type, to and from another client, too."""
        options = {"serializer": serializer, "unsafe_pickle": True, "accept": ALL_SERIALIZERS}
        async with self.new_results(**options) as results:
            assert await results.store_result("t", value)
            meta = await results.get_task_meta("t")
            with self.sync_results(**options) as other:
                other.store_result("u", value)
                read = other.get_result("t")

            assert ("SUCCESS", value) == (meta.status, meta.result)
            assert type(value) is type(meta.result)
            assert (value, type(value)) == (read, type(read))
            assert value == await results.AsyncResult("u").get(timeout=PATIENCE)

    @promise(4)
    async def test_record_in_the_store(self, results: Results) -> None:
        """The store holds one record with Celery's fields."""
        await results.store_result("t", 579, name="add")
        document = self.raw_document("t")

        assert document is not None
        assert {"status": "SUCCESS", "task_id": "t", "name": "add"}.items() <= document.items()
        assert {"result", "traceback", "children", "date_done", "write_id"} <= set(document)

    @promise(4)
    async def test_foreign_record(self, results: Results) -> None:
        """A record that somebody else stored can be read."""
        self.plant("t", b'{"status": "SUCCESS", "result": [1, 2], "task_id": "t"}')

        assert [1, 2] == await results.get_result("t")

    @promise(4)
    @pytest.mark.parametrize("size", [1_000, 65_536, 1_000_000])
    async def test_size(self, results: Results, size: int) -> None:
        """A record within the store's limit comes back to the last byte."""
        limit = innermost(results.backend).max_value_bytes
        value = "x" * (size if limit is None else min(size, limit - 1_000)) + "end"
        await results.store_result("t", value)

        assert value == await results.get_result("t")

    @promise(4)
    async def test_every_byte(self, results: Results) -> None:
        """A store of bytes keeps each of them, in every position."""
        if not has_keys(results):
            return
        store = innermost(results.backend)
        whole = bytes(range(256))
        values = [whole, whole[::-1], b" a \r\n", b"\0", b'{"status": "STARTED", "b":1 ,"a":2}']
        keys = [f"{self.key_prefix}t{n}" for n in range(len(values))]
        pairs = list(zip(keys, values, strict=True))
        for key, value in pairs:
            put = store.put(key, value, unless=READY_STATES, expires=60)
            assert await answer_of(put)

        found = await answer_of(store.get_many(keys))
        assert pairs == [(key, found.get(key)) for key in keys]

    @promise(4, 10)
    async def test_none_is_a_value(self, results: Results) -> None:
        """A stored `None` is there, and differs from nothing."""
        await results.store_result("t", None)

        assert await results.exists("t")
        assert (await results.wait_for("t", PATIENCE)).result is None

    @promise(4)
    async def test_strict(self) -> None:
        """`strict` refuses a value that would change its type, and waiters hear of it."""
        async with self.new_results(strict=True) as results:
            with pytest.raises(EncodeError):
                await results.store_result("t", {"key": range(3)})

            assert "FAILURE" == (await results.wait_for("t", PATIENCE)).status

    @promise(4)
    async def test_unencodable(self, results: Results) -> None:
        """A value that cannot be encoded raises here, and waiters get a failure."""
        with pytest.raises(EncodeError, match=r"result\['a'\]\[1\]"):
            await results.store_result("t", {"a": [1, object()]})
        with pytest.raises(EncodeError):
            await results.update_state("u", "PROGRESS", object())

        with pytest.raises(TypeError, match=r"result\['a'\]\[1\]"):
            await results.AsyncResult("t").get(timeout=PATIENCE)
        assert not await results.exists("u")

    @promise(4)
    async def test_too_large(self, results: Results) -> None:
        """A value over the limit raises here, and waiters get a failure."""
        innermost(results.backend).max_value_bytes = 10_000
        with pytest.raises(ResultTooLargeError, match="10000"):
            await results.store_result("t", "x" * 10_000)
        assert await results.mark_as_failure("long", ValueError("y" * 20_000))
        with pytest.raises(ResultTooLargeError):
            await results.store_many({"a": 1, "b": "x" * 10_000, "c": 3})
        # Its traceback shows another error, and is over the limit by itself.
        with pytest.raises(ResultTooLargeError):
            try:
                os.environ.pop("y" * 20_000)
            except KeyError:
                await results.store_result("in-handler", "x" * 10_000)

        assert ["FAILURE"] * 3 == [await results.get_state(i) for i in ("t", "long", "in-handler")]
        assert ["SUCCESS", "FAILURE", "SUCCESS"] == [await results.get_state(i) for i in "abc"]

    @promise(4)
    @needs("limited")
    @pytest.mark.parametrize("times", [1, 3])
    async def test_too_large_for_the_server(self, times: int) -> None:
        """
        A value over the server's limit raises with the size, waiters get a failure, and the rest
        of its batch is stored.
        """
        url, limit = self.limited()
        value, prefix = "x" * (times * limit), uuid4()
        one, many, fits, later = (f"{prefix}-{n}" for n in range(4))
        async with self.results_at(url) as results:
            waiting = start(results.wait_for(one, PATIENCE))
            await pause(0.05)
            with pytest.raises(ResultTooLargeError) as caught:
                await results.store_result(one, value)
            failure = (await waiting).failure
            with pytest.raises(ResultTooLargeError, match=many):
                await results.store_many({many: value, fits: 1})

            assert caught.value.size >= len(value)
            assert failure is not None
            assert ("ResultTooLargeError", True) == (
                failure.qualname,
                str(caught.value.size) in failure.message,
            )
            assert not await results.store_result(one, "late")
            assert ["FAILURE", 1] == [await results.get_state(many), await results.get_result(fits)]
            assert await results.store_result(later, "x" * (limit // 2))

    @promise(4)
    async def test_failure(self, results: Results, other: SyncResults) -> None:
        """A failure comes back as its own type, with arguments, notes and traceback."""
        error = KeyError("missing", 7)
        error.add_note("a note")
        try:
            raise error
        except KeyError as raised:
            await results.mark_as_failure("t", raised)

        for get in (results.AsyncResult("t").get, partial(apart, other.AsyncResult("t").get)):
            with pytest.raises(KeyError) as caught:
                await get(PATIENCE)
            assert ("missing", 7) == caught.value.args
            assert "a note" in caught.value.__notes__
        assert "raise error" in (other.get_traceback("t") or "")

    @core
    @promise(4)
    async def test_state_and_value_are_one(self, results: Results) -> None:
        """A reader sees the state and the value of the same moment."""
        ids = [f"t{n}" for n in range(50)]

        async def write() -> None:
            for id_ in ids:
                await results.update_state(id_, "PROGRESS", "unready")
                await results.store_result(id_, "ready")

        seen: set[tuple[str, Any]] = set()
        async with self.new_results() as reader:
            writing = start(write())
            while not writing.done():
                metas = await reader.get_many(ids)
                seen |= {(meta.status, meta.result) for meta in metas.values()}
            await writing

        assert seen <= {("PENDING", None), ("PROGRESS", "unready"), ("SUCCESS", "ready")}
