"""
Finding records by filters: `scan` of both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

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
