"""
The operation behind each method of a backend, for both sides. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from coatcheck.plugin import Codec, ResultMeta, Tree, Unless

from . import records
from .letters import key_of
from .operations import Operation, Row, Together
from .records import Record
from .schema import Layout
from .settings import Settings
from .tables import Table


class Encoder:
    """
    Makes rows of metas, once: a repeated write sends the same.
    """

    def __init__(self, codec: Codec, limit: int | None, metas: Sequence[ResultMeta]) -> None:
        self._codec = codec
        self._limit = limit
        self._metas = metas
        self._made: list[Record] | None = None

    def __call__(self, layout: Layout) -> list[Record]:
        """
        Return the records. Raises `EncodeError` and `ResultTooLargeError`.
        """
        if self._made is None:
            limits = [n for n in (self._limit, layout.limit) if n is not None]
            limit = min(limits, default=None)
            self._made = [
                records.encoded(meta, self._codec, limit, layout.letters) for meta in self._metas
            ]
        return self._made


def _written(layout: Layout, *, grouped: bool = False) -> Table:
    table = layout.groups if grouped else layout.tasks
    assert table is not None  # noqa: S101 - a write has made it
    return table


def encode(layout: Layout, *, encode: Encoder) -> Together[list[Record]]:
    """
    Encode records for the tables as they are, which are made if need be.
    """
    made = encode(layout)
    return Together([], lambda _: made)


def store(
    layout: Layout, *, encode: Encoder, unless: Unless, expires: float | None
) -> Operation[bool]:
    """
    Store one record; whether it is the record now.
    """
    return _written(layout).storing(encode(layout)[0], unless, expires)


def store_record(
    layout: Layout, *, record: Record, unless: Unless, expires: float | None
) -> Operation[bool]:
    """
    Store one record that is encoded.
    """
    return _written(layout).storing(record, unless, expires)


def store_over(
    layout: Layout, *, encode: Encoder, version: Any, expires: float | None
) -> Operation[bool]:
    """
    Store one record over exactly the one of *version*.
    """
    return _written(layout).replacing(encode(layout)[0], version, expires)


def store_many(
    layout: Layout, *, records: Sequence[Record], unless: Unless, expires: float | None
) -> Operation[set[str | None]]:
    """
    Store records of different ids; return the `write_id`s of those that are the record now.
    """
    return _written(layout).storing_many(records, unless, expires)


def store_group(
    layout: Layout,
    *,
    group_id: str,
    tree: Tree,
    codec: Codec,
    limit: int | None,
    expires: float | None,
) -> Operation[bool]:
    """
    Store a group.
    """
    record = records.encoded_group(group_id, tree, codec, limit, layout.letters)
    return _written(layout, grouped=True).storing(record, frozenset(), expires)


def read(layout: Layout, *, ids: Sequence[str], grouped: bool = False) -> Operation[list[Row]]:
    """
    Return the rows of *ids* that live, each with the id as it was asked for in "asked".
    """
    table = layout.groups if grouped else layout.tasks
    if table is None:
        return Together([], lambda _: [])
    return table.reading({key_of(id_, layout.letters): id_ for id_ in ids})


def metas(
    rows: Iterable[Mapping[str, Any]], codec: Codec, settings: Settings
) -> Iterator[tuple[str, ResultMeta]]:
    """
    Iterate over ids and snapshots.
    """
    zone = None if settings.dialect.has_zones else settings.timezone
    return ((row["asked"], records.decoded(row, codec, zone)) for row in rows)


def delete(layout: Layout, *, ids: Sequence[str], grouped: bool = False) -> Operation[int]:
    """
    Delete, and return how many there were.
    """
    keys = {key_of(id_, layout.letters) for id_ in ids}
    return _written(layout, grouped=grouped).deleting(keys)


def purge(layout: Layout, *, grouped: bool) -> Operation[int]:
    """
    Delete a portion of what has expired, and return how many those were.
    """
    return _written(layout, grouped=grouped).purging()


def purge_others(layout: Layout, *, grouped: bool, age: float) -> Operation[int]:
    """
    Delete a portion of what other programs wrote more than *age* seconds ago; return how many.
    """
    return _written(layout, grouped=grouped).purging_others(age)


def page(
    layout: Layout, *, last: int, size: int, state: str | None = None
) -> Operation[tuple[list[str], int, bool]]:
    """
    Return the ids of the records behind the row *last*, or of those in *state*; the last row, and
    whether there may be more.
    """
    if layout.tasks is None:
        return Together([], lambda _: ([], last, False))
    return layout.tasks.paging(last, size, state)
