"""
What any Celery wrote is read as by Celery's own client, or differs as the documentation lists.

Every row of the capture is put into a real store and read through the public interface, with the
settings that its writer had. See `support.celery` for where the rows are.
"""

from __future__ import annotations

import base64
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Self

import bson
import pytest
from support import verdicts
from support.captured import Captured
from support.celery import kept_rows, rows

import coatcheck
import coatcheck.aio
from coatcheck._coding.codec import Codec
from coatcheck_mongo import records

STORES = ["redis", "memcached", "mongodb", "filesystem", "rpc"]
#: Those that can list what they have.
SCANNED = ("redis", "filesystem", "mongodb", "rpc")
ALL = ("json", "msgpack", "pickle")

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _without_celery(monkeypatch):
    """Read as where Celery is not installed: what pickles name of it is missing."""
    hidden = ("celery", "kombu", "billiard")
    loaded = [name for name in sys.modules if name.partition(".")[0] in hidden]
    for name in {*hidden, *loaded}:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Any:
    """The name of a store, and the store."""
    return request.param, request.getfixturevalue(f"captured_{request.param}")


def settings(row: Row, captured: Captured) -> dict[str, Any]:
    """Return the settings that wrote the row, with the place where it is now."""
    return {**row["conf"], "result_backend": captured.url}


class Readers:
    """Results for each configuration of the capture, made once."""

    def __init__(self, captured: Captured, accept: tuple[str, ...] = ALL) -> None:
        self._captured = captured
        self._accept = accept
        self._made: dict[str, coatcheck.Results] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for results in self._made.values():
            results.close()

    def of(self, row: Row) -> coatcheck.Results:
        """Return the results for the row's configuration, with the row in the store."""
        self._captured.load(row)
        name = json.dumps(row["conf"])
        if name not in self._made:
            self._made[name] = coatcheck.from_celery_config(
                settings(row, self._captured), accept=self._accept, read_only=True
            )
        return self._made[name]


def judged(results: coatcheck.Results, row: Row) -> set[str | None]:
    """Return the kinds of differences in a row: none if it is read as by Celery."""
    if row["phase"] == "schema":
        return set()
    if row["read"] is None:
        return set(judged_group(results, row))
    meta = results.get_task_meta(row["task_id"])
    # What is there is known, and nothing else is found.
    assert meta.known == bool(verdicts.stored(row))
    if meta.known and row["backend"] in SCANNED:
        assert [meta.task_id] == [found.task_id for found in results.scan()]
    return {kind for _, kind in verdicts.differences(row, meta)}


def judged_group(results: coatcheck.Results, row: Row) -> Iterator[str | None]:
    """Judge a row about a group or a chord: the ids of the tasks, and no task where there is none."""
    group_id = row["task_id"]
    assert not results.get_task_meta(group_id).known
    if row["backend"] in SCANNED:
        assert [] == list(results.scan())
    keys = [key for key in verdicts.stored(row) if key.endswith(group_id)]
    if len(keys) < len(row["raw"].get("keys", [])):
        yield verdicts.CHORD
    if not any("unlock" not in key for key in keys):
        with pytest.raises(coatcheck.UnknownTaskError):
            results.restore_group(group_id)
        return
    try:
        found = results.restore_group(group_id).task_ids
    except coatcheck.DecodeError:
        yield verdicts.YAML if row["serializer"] == "yaml" else None
        return
    if row["meta"] is None:  # of a chord that goes on: Celery was not asked
        if not set(row.get("header_ids", found)) & set(found):
            yield None
        return
    expected, nested = verdicts.members(row["meta"]["result"])
    if nested:
        yield verdicts.NESTED
    if expected != found:
        yield None


def test_every_record_is_same_or_listed(store, record_property):
    """
    No record falls outside: it is read as Celery reads it, or in a way that the page lists.
    """
    name, captured = store
    found: Counter[str] = Counter()
    mistakes = []
    with Readers(captured) as readers:
        for row in rows(f"{name}.jsonl"):
            kinds = judged(readers.of(row), row)
            found.update(kinds or {verdicts.SAME})
            if None in kinds:
                mistakes.append(row["id"])
    record_property(f"records of {name}", dict(found))
    print(name, dict(found))

    assert [] == mistakes
    assert set(found) <= verdicts.listed() | {verdicts.SAME}
    assert found[verdicts.SAME] > 0


def test_odd_records_are_same_or_listed(captured_redis):
    """
    The same for documents on which Celery's reader was tried, most of which no Celery writes.
    """
    found: Counter[str | None] = Counter()
    mistakes = []
    with coatcheck.by_url(captured_redis.url, read_only=True) as results:
        for row in rows("reader-behaviour.jsonl"):
            key = f"celery-task-meta-{row['task_id']}"
            item = {"key": key, "type": "string", "value": row["input"]}
            captured_redis.load({"raw": {"keys": [item]}})
            meta = results.get_task_meta(row["task_id"])
            kinds = {kind for _, kind in verdicts.differences(row, meta)}
            found.update(kinds or {verdicts.SAME})
            if None in kinds:
                mistakes.append(row["id"])
    print(dict(found))

    assert [] == mistakes
    assert set(found) <= verdicts.listed() | {verdicts.SAME}


def test_the_list_is_not_longer_than_it_has_to_be():
    """
    Every difference that the page lists is found among the records that are kept here.
    """
    found: set[str | None] = set()
    for row in kept_rows("redis", "memcached", "mongodb", "filesystem", "rpc"):
        if row["read"] is not None:
            found |= {kind for _, kind in verdicts.differences(row, decoded(row))}
    for row in kept_rows("reader-behaviour"):
        meta = Codec(accept=ALL).decode(row["task_id"], base64.b64decode(row["input"]))
        found |= {kind for _, kind in verdicts.differences(row, meta)}

    assert verdicts.listed() == found - {None} | {verdicts.CHORD, verdicts.NESTED}


def decoded(row: Row) -> coatcheck.ResultMeta:
    """Return what is read in the record of a row, without a store."""
    own = row["serializer"] if row["serializer"] in ALL else "json"
    reader = Codec(own, accept=ALL, unsafe_pickle=True)
    for key, data in verdicts.stored(row).items():
        if row["backend"] == "mongodb":
            return records.decoded(bson.decode(data, records.CODEC_OPTIONS), reader)
        if "task-meta-" in key:
            return reader.decode(row["task_id"], data)
    return reader.unknown(row["task_id"])


def test_pickle_is_refused_by_default(store):
    """
    A pickled record is not decoded by a reader that does not accept it; its state is read.
    """
    name, captured = store
    refused = 0
    with Readers(captured, accept=("json", "msgpack")) as readers:
        for row in rows(f"{name}.jsonl"):
            if row["serializer"] != "pickle" or row["read"] is None:
                continue
            meta = readers.of(row).get_task_meta(row["task_id"])
            if meta.known:
                refused += 1
                assert isinstance(meta.error, coatcheck.ContentDisallowed)
                expected = row["meta"].get("status", meta.status)
                if name == "rpc" and row["celery"] < "5.7":
                    expected = meta.status  # their first key is not the state
                assert verdicts.taken_apart(row) or expected == meta.status, row["id"]
    assert refused > 0


async def test_the_side_for_asyncio_reads_the_same(store):
    """
    Under asyncio a record is read as by the synchronous side.
    """
    name, captured = store
    chosen = [row for row in kept_rows(name) if row["read"] is not None]
    for row in chosen:
        captured.load(row)
        given = settings(row, captured)
        with coatcheck.from_celery_config(given, read_only=True) as results:
            ours = results.get_task_meta(row["task_id"])
        async with coatcheck.aio.from_celery_config(given, read_only=True) as results:
            theirs = await results.get_task_meta(row["task_id"])
        assert (ours.status, ours.known) == (theirs.status, theirs.known)
        assert ours.document == theirs.document
    assert chosen


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda data: data[: len(data) // 2],
    lambda data: data[:-1] + b"\xff",
    lambda data: b"",
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_half_a_record_is_not_a_mistake(captured_filesystem, damage):
    """
    What Celery, which does not write files in one step, has written in part is not ready yet, or
    shows its state and no value.
    """
    row = next(row for row in kept_rows("filesystem") if row["case"] == "value/nested")
    (item,) = row["raw"]["files"]
    data = damage(base64.b64decode(item["value"]))
    captured_filesystem.load(
        {"raw": {"files": [{**item, "value": base64.b64encode(data).decode()}]}}
    )
    with coatcheck.by_url(captured_filesystem.url) as results:
        meta = results.get_task_meta(row["task_id"])

    assert meta.status in ("PENDING", "SUCCESS")
    assert isinstance(meta.error, coatcheck.DecodeError) == bool(data) == meta.known
