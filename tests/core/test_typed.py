"""
Values as the types that a reader asks for.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
)

import msgspec
import pydantic
import pytest

import coatcheck
from coatcheck import aio
from coatcheck._record.typed import converted

T = TypeVar("T")
Euros = NewType("Euros", int)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Item:
    name: str
    price: float = 0.0
    colour: Colour | None = None
    children: list[Item] = dataclasses.field(default_factory=list)
    size: int = dataclasses.field(init=False, default=7)


@dataclasses.dataclass(frozen=True)
class Strict:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("it is negative")


class Row(TypedDict):
    id: int
    note: NotRequired[str]


class Model(pydantic.BaseModel):
    id: int
    rows: list[dict[str, int]] = []


class Struct(msgspec.Struct):
    id: int
    rows: list[dict[str, int]] = []


@dataclasses.dataclass
class Box(Generic[T]):
    content: T


@pytest.fixture
def results() -> coatcheck.Results:
    return coatcheck.by_url("memory://typed")


def read(results: coatcheck.Results, value: object, kind: Any) -> Any:
    results.forget("t")
    results.store_result("t", value)
    return results.AsyncResult("t", type=kind).get(timeout=0)


NOW = datetime.now(UTC)
FITTING = [
    ({"name": "a"}, Item, Item("a")),
    ({"name": "a", "price": 1, "colour": "red", "new": 1}, Item, Item("a", 1.0, Colour.RED)),
    ({"name": "a", "children": [{"name": "b"}]}, Item, Item("a", children=[Item("b")])),
    ([{"name": "a"}], list[Item], [Item("a")]),
    ({"a": {"number": 1}}, dict[str, Strict], {"a": Strict(1)}),
    ({"a": {"number": 1}}, Mapping[str, Strict], {"a": Strict(1)}),
    ([1, 2], tuple[int, ...], (1, 2)),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([], tuple[()], ()),
    ([[1], [2]], Sequence[set[int]], [{1}, {2}]),
    ({"number": 1}, Optional[Strict], Strict(1)),  # noqa: UP045 - the older form
    (None, Strict | None, None),
    ({"number": 1}, Strict | Item, Strict(1)),
    (1, int | float, 1),
    ("a", Literal["a", "b"], "a"),
    ({"id": 1, "more": 2}, Row, {"id": 1}),
    ({"id": 1, "note": "n"}, Row, {"id": 1, "note": "n"}),
    ("blue", Colour, Colour.BLUE),
    (5, Euros, 5),
    (5, Annotated[int, "seconds"], 5),
    (NOW, datetime, NOW),
    ({"content": [1]}, Box[list[int]], Box([1])),
    ({"id": 1, "rows": [{"a": 2}]}, Model, Model(id=1, rows=[{"a": 2}])),
    ({"id": 1, "rows": [{"a": 2}]}, Struct, Struct(1, [{"a": 2}])),
    ({"a": [1, None]}, Any, {"a": [1, None]}),
    ({1: "a"}, dict, {1: "a"}),
]


@pytest.mark.parametrize(("value", "kind", "expected"), FITTING)
def test_a_value_that_fits(results, value, kind, expected):
    """A value becomes an instance of the type, nested and in containers."""
    found = read(results, value, kind)

    assert expected == found
    assert type(expected) is type(found)


WRONG = [
    ({"name": 1}, Item, "result.name: it is a value of the type int, not str"),
    ({}, Item, "result.name: Item needs it"),
    ([{"name": "a", "children": [{"name": 2}]}], list[Item], "result[0].children[0].name: it"),
    (
        {"a": {"number": "1"}},
        dict[str, Strict],
        "result['a'].number: it is a value of the type str",
    ),
    ({"number": -1}, Strict, "result: it is negative"),
    ({"number": True}, Strict, "result.number: it is a value of the type bool, not int"),
    ([1], tuple[int, int], "result: it has 1 items, not 2"),
    ([[1]], set[list[int]], "result: unhashable type"),
    ("green", Colour, "result: 'green' is not a valid Colour"),
    ("c", Literal["a", "b"], "none of 'a', 'b'"),
    ({}, Row, "result.id: Row needs it"),
    ({"name": "x"}, Strict | None, "result.number: Strict needs it"),
    ("x", int | list[int], "none of int, list[int]"),
    ({"id": 1, "name": "a"}, Row | Item, "it fits several of Row, Item"),
    (None, Item, "result: it is None, not the data of Item"),
    ("a", list[str], "not list"),
    ({1: 2}, dict[str, int], "result[key 1]: it"),
    ({"id": "x"}, Model, "result.id: Input should be a valid integer"),
    ({"id": 1, "rows": [{"a": "x"}]}, Struct, "result.rows[0][...]: Expected `int`, got `str`"),
    (1, "Item", "is no type that can be checked"),
]


@pytest.mark.parametrize(("value", "kind", "message"), WRONG)
def test_a_value_that_does_not_fit(results, value, kind, message):
    """The error names the path of the part that differs, and the record is as good as before."""
    with pytest.raises(coatcheck.ResultTypeError) as caught:
        read(results, value, kind)

    assert message in str(caught.value)
    assert value == results.get_result("t")


def test_failures_and_progress_have_no_type(results):
    """A failure is raised and progress is read whatever the type."""
    handle = results.AsyncResult("t", type=Item)
    results.forget("t")
    results.update_state("t", "PROGRESS", {"current": 1})
    assert {"current": 1} == handle.result
    results.mark_as_failure("t", KeyError("k"))
    with pytest.raises(KeyError):
        handle.get(timeout=0)
    assert isinstance(handle.get(timeout=0, propagate=False), KeyError)


async def test_in_asyncio_and_in_sets():
    """The same for handles of asyncio, and for the values of a set."""
    async with aio.by_url("memory://typed-aio") as results:
        await results.store_many({"a": {"name": "a"}, "b": {"name": "b"}})
        handles = [results.AsyncResult(task_id, type=Item) for task_id in "ab"]
        assert Item("a") == await handles[0] == await handles[0].result()
        assert [Item("a"), Item("b")] == await results.ResultSet(handles).get(timeout=1)
    with coatcheck.by_url("memory://typed-aio") as results:
        handle = results.AsyncResult("b", type=Item)
        assert Item("b") == handle.result
        assert [Item("b")] == results.ResultSet([handle]).get(timeout=1)


def test_deep_values(results):
    """A value nested as deep as its type allows is an error of ours, or fits."""
    value: dict[str, Any] = {"name": "x"}
    for _ in range(90):
        value = {"name": "x", "children": [value]}
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        with pytest.raises(coatcheck.ResultTypeError, match="too deeply"):
            converted("t", value, Item)
    finally:
        sys.setrecursionlimit(before)
    assert isinstance(read(results, value, Item), Item)


def stored_by(kind: type, value: Any) -> Any:
    with coatcheck.by_url("memory://typed", types=[kind], serializer="msgpack") as results:
        results.forget("own")
        results.store_result("own", value)
        return results.get_result("own")


def test_what_is_stored_of_own_classes():
    """A model and a struct are stored in their own way, with what they hold; subclasses are refused."""

    class Special(Model):
        pass

    plain = {"id": 1, "rows": [{"a": 2}]}
    assert plain == stored_by(Model, Model(**plain))
    assert plain == stored_by(Struct, Struct(**plain))
    assert [plain] == stored_by(Struct, [Struct(**plain)])
    assert {"red": 1} == stored_by(Colour, {Colour.RED: 1})
    assert {"id": 1} == stored_by(Row, Row(id=1))
    with pytest.raises(coatcheck.EncodeError, match="Special"):
        stored_by(Model, Special(**plain))
    with pytest.raises(
        coatcheck.ConfigurationError, match="'types': <class 'int'> is no dataclass"
    ):
        stored_by(int, 1)
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(coatcheck.EncodeError, match="contains itself"):
        stored_by(Colour, deep)
