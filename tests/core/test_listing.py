"""
Finding records by filters: `scan` of both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._backends import query
from coatcheck._backends.query import Sorting
from coatcheck._embedded.memory import MemoryBackend


@pytest.fixture
def results() -> Iterator[coatcheck.Results]:
    with coatcheck.Results(MemoryBackend()) as results:
        yield results


@pytest.mark.parametrize("members", [["b", "a", "absent", "b"], None])
async def test_groups(members: list[str] | None) -> None:
    """
    The members of a stored group are those it names. Without it they are the records that name the group.
    """
    backend = MemoryBackend()
    with coatcheck.Results(backend) as results:
        results.store_many({"a": 1, "b": 2, "other": 3})
        results.store_result("named", 4, group_id="g")
        if members is not None:
            results.ResultSet(members).save("g")
        found = [meta.task_id for meta in results.scan(group="g")]
        some = [meta.task_id for meta in results.scan(group="g", after="a", state="SUCCESS")]
        async with coatcheck.aio.Results(backend) as aio:
            assert found == [meta.task_id async for meta in aio.scan(group="g")]

    assert (["named"] if members is None else ["b", "a"]) == found
    assert (["named"] if members is None else ["b"]) == some


@pytest.mark.parametrize("moment", [datetime(2026, 1, 1), 5, "2026-01-01"])
@pytest.mark.parametrize("name", ["since", "before"])
def test_unclear_moments(results: coatcheck.Results, name: str, moment: object) -> None:
    """
    A time without a zone is refused, because it names several moments, and so is another type.
    """
    with pytest.raises(
        coatcheck.ArgumentError, match=f"{name} cannot be .*a datetime with a time zone"
    ):
        next(results.scan(**{name: moment}), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["name", "prefix", "after"])
@pytest.mark.parametrize("value", [5, "\udcff"])
def test_unclear_texts(results: coatcheck.Results, name: str, value: object) -> None:
    """
    What no store can compare is refused before one is asked.
    """
    with pytest.raises(coatcheck.ArgumentError, match=f"{name} cannot be .*UTF-8"):
        next(results.scan(**{name: value}), None)  # type: ignore[arg-type]


def test_ages_without_end(results: coatcheck.Results) -> None:
    """
    The largest age includes all records.
    """
    results.store_result("t", 1)

    assert ["t"] == [meta.task_id for meta in results.scan(since=timedelta.max)]


def test_order_where_the_store_has_none(
    results: coatcheck.Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A store without an order is listed once for each portion of the ids, which come in their order.
    """
    monkeypatch.setattr(query, "SORTED", 10)
    ids = [f"t{n:02}" for n in range(35)]
    results.store_many(dict.fromkeys(reversed(ids), 1))

    assert ids == [meta.task_id for meta in results.scan(after="")]
    assert ids[21:] == [meta.task_id for meta in results.scan(after="t20")]
    assert [] == list(results.scan(after="t34"))


@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6])
def test_sorting(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Portions are full until the last one, and no key is missing or comes twice.
    """
    keys = [f"{n}" for n in range(number)]
    monkeypatch.setattr(query, "SORTED", 2)
    sorting, portions = Sorting(""), []
    while not sorting.ended:
        for key in reversed(keys):
            sorting.add(key)
        portions.append(sorting.taken())

    assert keys == [key for portion in portions for key in portion]
    assert all(len(portion) == 2 for portion in portions[:-1])


@pytest.mark.parametrize("sort", ["newest", "oldest", "id"])
async def test_pages(sort: coatcheck.Sort) -> None:
    """
    Pages have all records once, in their order, although others are stored and go in between.
    """
    backend, now = MemoryBackend(), datetime.now(UTC)
    with coatcheck.Results(backend) as results:
        for n in range(9):
            results.mark_as_started(f"t{n}", date_started=now - timedelta(minutes=n % 5))
        async with coatcheck.aio.Results(backend) as aio:
            pages = [results.page(sort=sort, limit=4)]
            results.forget(pages[0].records[-1].task_id)
            results.store_result("u" if sort == "newest" else "a", 1)
            while (cursor := pages[-1].cursor) is not None:
                pages.append(results.page(sort=sort, limit=4, after=cursor))
                assert _shown(await aio.page(sort=sort, limit=4, after=cursor)) == _shown(pages[-1])

    ids = [meta.task_id for page in pages for meta in page.records]
    expected = {
        "newest": ["t5", "t0", "t6", "t1", "t7", "t2", "t8", "t3", "t4"],
        "oldest": ["t4", "t3", "t8", "t2", "t7", "t1", "t6", "t0", "t5", "a"],
        "id": [f"t{n}" for n in range(9)],
    }
    assert expected[sort] == ids
    assert [4, 4] == [len(page.records) for page in pages[:2]]
    assert (None if sort == "id" else 9) == pages[0].total


def _shown(page: coatcheck.Page) -> tuple[list[str], str | None, int | None]:
    return [meta.task_id for meta in page.records], page.cursor, page.total


def test_a_page_of_many(results: coatcheck.Results) -> None:
    """
    A page has the first of all records, however many pass, and no cursor if it has the last one.
    """
    now = datetime.now(UTC)
    for n in (*range(0, 50, 2), *range(49, 0, -2)):
        results.mark_as_started(f"{n:02}", date_started=now + timedelta(seconds=n))
    page = results.page(limit=3)

    assert (["49", "48", "47"], 50) == ([m.task_id for m in page.records], page.total)
    assert results.page(limit=50).cursor is results.page(limit=50, sort="id").cursor is None
    assert [] == results.page(name="x").records


@pytest.mark.parametrize(
    ("option", "value"),
    [("sort", "size"), ("limit", 0), ("limit", 2.5), ("after", "t"), ("after", "2026-01-01/t")],
)
def test_pages_that_cannot_be(results: coatcheck.Results, option: str, value: object) -> None:
    """
    An order that does not exist, no records at all, or a cursor of another order is refused.
    """
    with pytest.raises(coatcheck.ArgumentError, match=f"{option} cannot be"):
        results.page(**{option: value})  # type: ignore[arg-type]
