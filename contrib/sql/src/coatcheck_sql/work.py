"""
The operations behind the methods of both backends. No I/O.

A method of one operation asks for a `Make`; one with a decision between several has `Steps`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple, TypeVar

from coatcheck import Capability
from coatcheck.errors import BackendUnavailableError
from coatcheck.plugin import (
    URL,
    BaseBackend,
    Portions,
    ResultMeta,
    Tally,
    Tree,
    Unless,
    Writing,
    batches,
)

from . import celerysettings, records
from .letters import key_of
from .operations import Operation, Row, Together
from .records import Record
from .schema import Layout
from .settings import Settings

T = TypeVar("T")
#: Returns the operation for the tables as they are.
Make = Callable[[Layout], Operation[T]]


class Request(NamedTuple):
    """One operation of several. It may take this *part* of an operation's time."""

    make: Make[Any]
    part: float = 1.0
    writing: bool = True


#: Yields requests, and receives their answers or errors.
Steps = Generator[Request, Any, T]


class Work(BaseBackend[ResultMeta]):
    """The base of both backends."""

    keeps_others = True
    ordered = True
    capabilities = Capability.TTL | Capability.SCAN | Capability.SHARED

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._portions = Portions()
        self.max_value_bytes = settings.dialect.largest
        if settings.listen is not None:
            self.capabilities |= Capability.PUSH

    @classmethod
    def celery_options(cls, url: URL, settings: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
        return celerysettings.celery_options(url, settings)

    # -- writing --------------------------------------------------------------------------

    def _encoder(self, metas: Sequence[ResultMeta]) -> Callable[[Layout], list[Record]]:
        """
        Return a function that encodes *metas* once, so that a repeated write sends the same. It raises
        `EncodeError` and `ResultTooLargeError`.
        """
        made: list[Record] = []

        def encode(layout: Layout) -> list[Record]:
            if not made:
                limits = [n for n in (self.max_value_bytes, layout.limit) if n is not None]
                limit = min(limits, default=None)
                made.extend(records.encoded(m, self.codec, limit, layout.letters) for m in metas)
            return made

        return encode

    def _storing(
        self, meta: ResultMeta, unless: Unless, if_match: ResultMeta | None, expires: float | None
    ) -> Make[bool]:
        encode = self._encoder([meta])
        if if_match is None:
            return lambda layout: layout.written().storing(encode(layout)[0], unless, expires)
        version = if_match.version
        return lambda layout: layout.written().replacing(encode(layout)[0], version, expires)

    def _storing_many(
        self, items: Sequence[tuple[str, ResultMeta]], unless: Unless, expires: float | None
    ) -> Steps[list[bool]]:
        encode = self._encoder([meta for _, meta in items])
        # All are encoded before any is sent.
        all_ = yield Request(lambda layout: Together([], partial(_first, encode(layout))))
        first, later = records.first_and_later(all_)
        won: set[str | None] = set()
        most = self._settings.dialect.portion
        writing = Writing(self._portions, first, records.size_of, most=most)
        while portion := writing.next():
            try:
                won |= yield Request(partial(_store_many, portion, unless, expires))
            except BackendUnavailableError as error:
                writing.failed(error)
            else:
                writing.went()
        for record in later:
            if (yield Request(partial(_store, record, unless, expires))):
                won.add(record.write_id)
        return [record.write_id in won for record in all_]

    def _storing_group(self, group_id: str, tree: Tree, expires: float | None) -> Make[bool]:
        def make(layout: Layout) -> Operation[bool]:
            limit, letters = self.max_value_bytes, layout.letters
            record = records.encoded_group(group_id, tree, self.codec, limit, letters)
            return layout.written(grouped=True).storing(record, frozenset(), expires)

        return make

    def _decoded(self, rows: Sequence[Row]) -> dict[str, ResultMeta]:
        zone = None if self._settings.dialect.has_zones else self._settings.timezone
        return {row["asked"]: records.decoded(row, self.codec, zone) for row in rows}


def _first(value: T, _: object) -> T:
    return value


def _store(
    record: Record, unless: Unless, expires: float | None, layout: Layout
) -> Operation[bool]:
    return layout.written().storing(record, unless, expires)


def _store_many(
    portion: Sequence[Record], unless: Unless, expires: float | None, layout: Layout
) -> Operation[set[str | None]]:
    return layout.written().storing_many(portion, unless, expires)


def reading(ids: Sequence[str], *, grouped: bool = False) -> Make[list[Row]]:
    """Read the live rows of *ids*, each with the id as it was asked for in "asked"."""

    def make(layout: Layout) -> Operation[list[Row]]:
        table = layout.groups if grouped else layout.tasks
        if table is None:
            return Together([], lambda _: [])
        return table.reading({key_of(id_, layout.letters): id_ for id_ in ids})

    return make


def deleting(ids: Collection[str], *, grouped: bool = False) -> Steps[int]:
    """Delete *ids*; return how many there were."""

    def make(batch: Sequence[str], layout: Layout) -> Operation[int]:
        keys = {key_of(id_, layout.letters) for id_ in batch}
        return layout.written(grouped=grouped).deleting(keys)

    deleted = 0
    for batch in batches(dict.fromkeys(ids)):
        deleted += yield Request(partial(make, batch))
    return deleted


def purging(age: float | None = None) -> Steps[int]:
    """
    Delete the expired records, or those that other programs wrote *age* seconds ago or earlier. Return their
    number.
    """

    def make(grouped: bool, layout: Layout) -> Operation[int]:  # noqa: FBT001 - for `partial`
        table = layout.written(grouped=grouped)
        return table.purging() if age is None else table.purging_others(age)

    purged = 0
    for grouped in (False, True):
        while removed := (yield Request(partial(make, grouped))):
            purged += removed
    return purged


def sweeping(part: float) -> Steps[None]:
    """
    Delete a portion of the expired records of each table, each in this *part* of an operation's time.
    """
    yield Request(lambda layout: layout.written().purging(), part)
    yield Request(lambda layout: layout.written(grouped=True).purging(), part)


def lives(ids: Collection[str], *, grouped: bool) -> Steps[dict[str, float | None]]:
    """Return how many more seconds *ids* live."""

    def make(batch: Sequence[str], layout: Layout) -> Operation[dict[str, float | None]]:
        table = layout.groups if grouped else layout.tasks
        if table is None or not table.expiring:
            return Together([], lambda _: dict.fromkeys(batch))
        return table.reading_ends({key_of(id_, layout.letters): id_ for id_ in batch})

    found: dict[str, float | None] = {}
    for batch in batches(dict.fromkeys(ids)):
        found |= yield Request(partial(make, batch), writing=False)
    return found


def tallying(moments: Sequence[datetime]) -> Make[Tally]:
    """Count the records by state and age."""

    def make(layout: Layout) -> Operation[Tally]:
        if layout.tasks is None:
            return Together([], lambda _: {})
        return layout.tasks.tallying(moments)

    return make
