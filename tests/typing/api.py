"""
The public API as users write it. Type-checked in strict mode, never run.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

import coatcheck
from coatcheck import aio


def sync_side() -> None:
    """
    Everything a synchronous program does.
    """
    print(coatcheck.by_name(), coatcheck.by_name("audit", config={"backends": {}}, expires=None))
    print(coatcheck.from_celery_config({"result_backend": "memory://"}, read_only=True))
    with coatcheck.by_url("redis://localhost/1", expires=timedelta(hours=1)) as results:
        won: bool = results.store_result("t", {"a": 1}, name="add", retries=1)
        many: dict[str, bool] = results.store_many({"a": 1}, expires=None)
        results.mark_as_failure("f", ValueError("x"), worker="w")
        with results.running("r", name="resize", heartbeat=10) as task:
            task.progress(1, 10)
            task.result = won, many
        outcome: bool | None = task.won
        handle: coatcheck.AsyncResult[int] = results.AsyncResult("t")
        value: int = handle.get(timeout=1.5, missing="raise")
        meta: coatcheck.ResultMeta = results.wait_for("t", 10, on_interval=lambda: None)
        failure: coatcheck.Failure | None = meta.failure
        for update in handle.updates(timeout=5):
            print(update.status, update.info, outcome, value, failure)
        tasks: coatcheck.ResultSet[int] = results.ResultSet(["a", handle])
        values: list[int] = tasks.get(timeout=3)
        group: str = tasks.save("g")
        print(values, group, [m.task_id for m in results.as_completed(["a"], timeout=1)])
        print([m.date_done for m in results.scan(state="SUCCESS")])
        try:
            handle.get()
        except coatcheck.WaitTimeoutError as error:
            print(error.task_ids, error.last_error)
        except coatcheck.TaskError as error:
            print(error.failure.notes)


async def aio_side() -> None:
    """
    The same under asyncio.
    """
    async with aio.by_url("redis://localhost/1") as results:
        won: bool = await results.store_result("t", 1)
        handle: aio.AsyncResult[int] = results.AsyncResult("t")
        value: int = await handle
        state: str = await handle.state()
        async with results.running("r") as task:
            await task.progress(1)
            task.result = won, value, state
        async for meta in results.as_completed(["t"], timeout=1):
            print(meta.result)
        async for meta in handle.updates():
            print(meta.result)
        values: list[int] = await results.ResultSet(["t"]).get()
        print(values)


@dataclass
class Report:
    title: str


def exact_types(results: coatcheck.Results, handle: coatcheck.AsyncResult[int]) -> None:
    """
    What a call gives is known where its arguments say it.
    """
    report = results.AsyncResult("t", type=Report)
    assert_type(report, coatcheck.AsyncResult[Report])
    assert_type(report.get(), Report)
    assert_type(results.AsyncResult("t", type=list[Report]), coatcheck.AsyncResult[list[Report]])
    assert_type(results.AsyncResult("t", type=Report | None), coatcheck.AsyncResult[Any])
    assert_type(results.AsyncResult("t"), coatcheck.AsyncResult[Any])
    tasks = results.ResultSet([handle])
    assert_type(tasks, coatcheck.ResultSet[int])
    assert_type(results.ResultSet(["a"]), coatcheck.ResultSet[Any])
    assert_type(results.ResultSet(), coatcheck.ResultSet[Any])
    assert_type(list(tasks), list[coatcheck.AsyncResult[int]])
    assert_type(handle.get(), int)
    assert_type(handle.get(propagate=True), int)
    assert_type(handle.get(propagate=False), int | Exception)
    assert_type(tasks.get(), list[int])
    assert_type(tasks.get(propagate=False), list[int | Exception])
    with results.running("t") as task:
        advance(task)


def advance(task: coatcheck.RunningTask) -> None:
    task.progress(1, total=2, step="read")
    task.update_state("LOADED", meta={"rows": 3})


async def exact_aio_types(results: aio.Results, handle: aio.AsyncResult[int]) -> None:
    """
    The same under asyncio.
    """
    report = results.AsyncResult("t", type=Report)
    assert_type(report, aio.AsyncResult[Report])
    assert_type(await report.get(), Report)
    assert_type(results.AsyncResult("t", type=list[Report]), aio.AsyncResult[list[Report]])
    assert_type(results.AsyncResult("t", type=Report | None), aio.AsyncResult[Any])
    assert_type(results.AsyncResult("t"), aio.AsyncResult[Any])
    tasks = results.ResultSet([handle])
    assert_type(tasks, aio.ResultSet[int])
    assert_type(results.ResultSet(["a"]), aio.ResultSet[Any])
    assert_type(await handle, int)
    assert_type(await handle.get(), int)
    assert_type(await handle.get(propagate=False), int | Exception)
    assert_type(await tasks.get(), list[int])
    assert_type(await tasks.get(propagate=False), list[int | Exception])
    async with results.running("t") as task:
        await aio_report(task)


async def aio_report(task: aio.RunningTask) -> None:
    await task.progress(1, total=2, step="read")


class Dictionary(coatcheck.KeyValueBackend):
    PROTOCOL_VERSION = 1

    """
    A backend as a third party writes it.
    """

    capabilities = coatcheck.Capability.NONE

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    def put(
        self,
        key: str,
        value: bytes,
        *,
        unless: coatcheck.Unless,
        if_match: bytes | None = None,
        expires: float | None,
    ) -> bool:
        current = self._values.get(key)
        if current is not None and unless is not coatcheck.ANY:
            state = self.codec.state_of(current)
            if state in unless:
                return False
        self._values[key] = value
        return True

    def get_many(self, keys: Collection[str]) -> dict[str, bytes]:
        return {key: self._values[key] for key in keys if key in self._values}

    def delete_many(self, keys: Collection[str]) -> int:
        return sum(self._values.pop(key, None) is not None for key in keys)


class Watcher:
    """
    A plugin as a third party writes it.
    """

    @coatcheck.hookimpl
    def stored(self, meta: coatcheck.ResultMeta, won: bool) -> None:
        print(meta.task_id, won)


coatcheck.register("dictionary", Dictionary)
coatcheck.Results(Dictionary(), serializer="msgpack", plugins=[Watcher()])


def copied(source: coatcheck.Results, target: coatcheck.Results) -> int:
    """The counts of a migration, and its filters."""
    failed: list[str] = []

    def note(task_id: str, error: Exception) -> None:
        failed.append(f"{task_id}: {error}")

    counts = coatcheck.migrate(source, target, state="FAILURE", on_failure=note)
    assert_type(counts, coatcheck.Migrated)
    coatcheck.migrate(source, target, colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    return counts.copied + counts.seen
