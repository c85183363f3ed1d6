"""
Result sets, saved and restored; sync and asyncio.
"""

from __future__ import annotations

import json
import threading
import uuid

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._record import groups


@pytest.fixture
def url():
    return f"memory://{uuid.uuid4()}"


@pytest.fixture
def results(url):
    with coatcheck.by_url(url) as results:
        yield results


@pytest.fixture
async def aio_results(url):
    async with coatcheck.aio.by_url(url) as results:
        yield results


def raw(results, key: str) -> bytes | None:
    """Return the bytes under *key*."""
    return results.backend.backend.get_many([key]).get(key)


def raw_put(results, key: str, document: object) -> None:
    """Put a document under *key*, as another program would."""
    data = json.dumps(document).encode()
    results.backend.backend.put(key, data, unless=frozenset(), expires=60)


def test_get(results):
    """Values come in the order of the set, whenever they were stored."""
    tasks = results.ResultSet(["a", "b", results.AsyncResult("c"), "a"])
    timer = threading.Timer(0.05, results.store_many, ({"c": 3, "b": 2, "a": 1},))
    timer.start()

    assert [1, 2, 3] == tasks.get(timeout=30)
    assert ["a", "b", "c"] == tasks.task_ids == [handle.id for handle in tasks]
    assert 3 == len(tasks)
    assert "a" in tasks
    assert results.AsyncResult("x") not in tasks


async def test_get_aio(aio_results):
    """Values come in the order of the set, whenever they were stored."""
    tasks = aio_results.ResultSet(["a", "b", aio_results.AsyncResult("c")])
    await aio_results.store_many({"c": 3, "b": 2, "a": 1})

    assert [1, 2, 3] == await tasks.get(timeout=30)
    assert ["a", "b", "c"] == sorted([meta.task_id async for meta in tasks.as_completed()])
    assert {"a", "b", "c"} == {handle.id for handle in tasks}
    assert "<ResultSet of 3>" == repr(tasks)
    assert "b" in tasks


def test_counting(results):
    """The set says how far it is, by one read for all that is not known yet."""
    tasks = results.ResultSet(["a", "b", "c"])
    assert (False, False, False, True, 0) == (
        tasks.ready(),
        tasks.successful(),
        tasks.failed(),
        tasks.waiting(),
        tasks.completed_count(),
    )
    results.store_result("a", 1)
    results.mark_as_failure("b", ValueError("b"))
    assert (True, True, 1) == (tasks.failed(), tasks.waiting(), tasks.completed_count())
    results.mark_as_revoked("c")

    assert (True, False) == (tasks.ready(), tasks.successful())
    results.backend.backend.get_many = None  # nothing is left to read
    assert ["SUCCESS", "FAILURE", "REVOKED"] == [meta.status for meta in tasks.metas()]


async def test_counting_aio(aio_results):
    """The set says how far it is."""
    tasks = aio_results.ResultSet(["a", "b"])
    await aio_results.store_result("a", 1)
    assert (False, False, True, 1) == (
        await tasks.ready(),
        await tasks.failed(),
        await tasks.waiting(),
        await tasks.completed_count(),
    )
    await aio_results.store_result("b", 1)

    assert await tasks.successful()


def test_failures(results):
    """The first failure that comes is raised, or all are values."""
    tasks = results.ResultSet(["a", "b", "never"])
    results.store_result("a", 1)
    results.mark_as_failure("b", ValueError("b"))
    with pytest.raises(ValueError, match="b"):
        tasks.get(timeout=30)
    with pytest.raises(coatcheck.TaskError, match="ValueError"):
        tasks.get(timeout=30, wrap=True)
    with pytest.raises(coatcheck.WaitTimeoutError) as caught:
        tasks.get(timeout=0.05, propagate=False)
    assert {"never"} == caught.value.task_ids

    first, second = results.ResultSet(["a", "b"]).get(propagate=False)
    assert (1, "b") == (first, str(second))


async def test_failures_aio(aio_results):
    """The first failure that comes is raised, or all are values; no wait is left."""
    tasks = aio_results.ResultSet(["b", "never"])
    await aio_results.mark_as_failure("b", ValueError("b"))
    with pytest.raises(ValueError, match="b"):
        await tasks.get(timeout=30)

    assert aio_results._hubs.get().idle
    assert "b" == str((await aio_results.ResultSet(["b"]).get(propagate=False))[0])


def test_empty(results):
    """A set of nothing is ready, successful, and has no values."""
    tasks = results.ResultSet()

    assert (True, True, False, []) == (
        tasks.ready(),
        tasks.successful(),
        tasks.failed(),
        tasks.get(),
    )


def test_forget(results):
    """Forgetting deletes all records, and the set knows nothing of them any more."""
    tasks = results.ResultSet(["a", "b"])
    results.store_many({"a": 1, "b": 2})
    tasks.get()

    assert 2 == tasks.forget()
    assert not results.exists("a")
    assert tasks.waiting()


def test_saved_and_restored(results, url):
    """Another client restores what was saved, in Celery's format and under Celery's key."""
    assert "g" == results.ResultSet(["a", "b"]).save("g")
    stored = json.loads(raw(results, "celery-taskset-meta-g"))

    assert [["g", None], [[["a", None], None], [["b", None], None]]] == stored["result"]
    with coatcheck.by_url(url) as other:
        restored = other.restore_group("g")
        assert (["a", "b"], "g") == (restored.task_ids, restored.group_id)
        assert restored.delete()
        assert not restored.delete()
    with pytest.raises(coatcheck.UnknownTaskError, match="'g'"):
        results.restore_group("g")
    assert [] == list(results.scan())


async def test_saved_and_restored_aio(aio_results):
    """What was saved is restored."""
    await aio_results.ResultSet(["a", "b"], "g").save()

    restored = await aio_results.restore_group("g")
    assert ["a", "b"] == restored.task_ids
    assert await restored.delete()
    with pytest.raises(coatcheck.UnknownTaskError):
        await aio_results.restore_group("g")
    await aio_results.store_many({"a": 1, "b": 2})
    assert 2 == await restored.forget()


def test_groups_of_other_prefixes(url):
    """The key of a group is not among those of tasks, whatever the prefix."""
    for prefix in ("app:", "app_celery-task-meta-", ""):
        with coatcheck.by_url(url, key_prefix=prefix) as results:
            results.ResultSet(["a"]).save("g")
            assert ["a"] == results.restore_group("g").task_ids
            if prefix:
                assert [] == list(results.scan())
            results.delete_group("g")


def test_no_id(results):
    """A set without an id cannot be saved or deleted."""
    for call in ("save", "delete"):
        with pytest.raises(coatcheck.ArgumentError, match="group id"):
            getattr(results.ResultSet(["a"]), call)()


def test_read_only(url, results):
    """Who may only read restores, and neither saves nor deletes."""
    results.save_group("g", ["a"])
    with coatcheck.by_url(url, read_only=True) as reader:
        assert ["a"] == reader.restore_group("g").task_ids
        with pytest.raises(coatcheck.UnsupportedError, match="read-only"):
            reader.save_group("g", [])
        with pytest.raises(coatcheck.UnsupportedError, match="read-only"):
            reader.delete_group("g")


@pytest.mark.parametrize(
    ("result", "task_ids"),
    [
        ([["g", None], [["a", None], ["b", None]]], ["a", "b"]),
        ([["g", [["p", None], None]], [[["a", None], None]]], ["a"]),
        ([["g", None], [[["h", None], [[["a", None], None]]], [["b", None], None]]], ["a", "b"]),
        (["a", "b"], ["a", "b"]),
        ([["g", None], []], []),
    ],
)
def test_foreign_groups(results, result, task_ids):
    """Celery's groups are read, nested ones with their tasks in place."""
    raw_put(results, "celery-taskset-meta-g", {"result": result})

    assert task_ids == results.restore_group("g").task_ids


@pytest.mark.parametrize("result", [None, 7, {"a": 1}, [1, 2, 3], [["g", None], 7], [[[]], [[]]]])
def test_damaged_groups(results, result):
    """What is no group is a DecodeError that names it."""
    raw_put(results, "celery-taskset-meta-g", {"result": result})

    with pytest.raises(coatcheck.DecodeError, match="'g'"):
        results.restore_group("g")


def test_bottomless_group():
    """A group that holds itself many times over is refused, not followed."""
    nested: object = [["a", None], None]
    for _ in range(groups.MAX_DEPTH + 2):
        nested = [["g", None], [nested]]

    with pytest.raises(coatcheck.DecodeError, match="too deeply"):
        groups.from_document("g", {"result": nested})


def test_backends_without_groups():
    """A backend that keeps no groups says so."""

    class Bare(coatcheck.Backend):
        def put(self, key, value, *, unless, if_match=None, expires):
            return True

        def get_many(self, keys):
            return {}

        def delete_many(self, keys):
            return 0

    results = coatcheck.Results(Bare())
    for call, arguments in (
        ("save_group", ("g", [])),
        ("restore_group", ("g",)),
        ("delete_group", ("g",)),
    ):
        with pytest.raises(coatcheck.UnsupportedError, match="Bare does not keep groups"):
            getattr(results, call)(*arguments)


def test_group_of_groups(results):
    """
    A tree of groups is kept as it is, and its tasks are found in their order.
    """
    tree = [["g", ["parent", None]], [[["a", None], None], [["h", None], [[["b", None], None]]]]]
    assert results.backend.get_group_tree("g") is None
    results.backend.put_group_tree("g", tree, expires=None)

    assert tree == results.backend.get_group_tree("g")
    assert ["a", "b"] == results.restore_group("g").task_ids
    results.save_group("g", ["c"])
    assert [["g", None], [[["c", None], None]]] == results.backend.get_group_tree("g")


async def test_aio_group_of_groups(aio_results):
    """
    So it is for asyncio.
    """
    tree = [["g", None], [[["h", None], [[["b", None], None]]]]]
    assert await aio_results.backend.get_group_tree("g") is None
    await aio_results.backend.put_group_tree("g", tree, expires=None)

    assert tree == await aio_results.backend.get_group_tree("g")
    assert ["b"] == (await aio_results.restore_group("g")).task_ids


def test_group_of_groups_without_nesting():
    """
    A store that keeps lists of ids keeps those of the tree.
    """

    class Flat(MemoryBackend):
        """Keeps groups as lists."""

        groups = {}

        def put_group(self, group_id, task_ids, *, expires):
            self.groups[group_id] = task_ids

        def get_group(self, group_id):
            return self.groups.get(group_id)

    flat = Flat("flat")
    flat.put_group_tree("g", [["g", None], [[["a", None], None], "b"]], expires=None)

    assert {"g": ["a", "b"]} == flat.groups
    assert [["g", None], [[["a", None], None], [["b", None], None]]] == flat.get_group_tree("g")
    assert flat.get_group_tree("x") is None
