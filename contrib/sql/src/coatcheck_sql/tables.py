"""
The operations on the two tables, each as statements, values and an answer. No I/O.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

from coatcheck.plugin import ANY, ENVELOPE_MAGIC, PENDING, Tally, Unless, aware, wall

from .operations import Ask, Operation, Row
from .records import Record, id_of
from .scans import Scans
from .statements import PLAIN

#: Longer lives, in seconds, end after the last year that a date can have.
_FOR_EVER: Final = 7_000 * 365.25 * 86_400


def until(expires: float | None) -> float | None:
    """Return *expires*, or `None` if the end is beyond all dates."""
    return None if expires is None or expires > _FOR_EVER else float(expires)


def moment_of_wall(seconds: float = 0.0) -> datetime:
    """Return the moment *seconds* ago, by this machine's clock."""
    return datetime.fromtimestamp(wall() - seconds, UTC)


@lru_cache(maxsize=256)
def states_of(unless: Unless) -> Mapping[str, str]:
    """Return the values of the marks in `Statements.may_replace`."""
    if unless is ANY or all(map(PLAIN.fullmatch, unless)):
        return {}
    states = enumerate(sorted(unless))
    return {f"u{n}": state for n, state in states if not PLAIN.fullmatch(state)}


#: A value of the column that orders the rows.
Place = int | str


class Page(NamedTuple):
    """Ids of records, and how far the page went."""

    ids: list[str]
    #: The place of the last row; `None` if there is no row.
    last: Place | None
    #: The number of rows, expired ones included.
    rows: int


class Table(Scans):
    """One of the two tables, in one database."""

    @abstractmethod
    def parameters(self, values: Mapping[str, Any], expires: float | None) -> dict[str, Any]:
        """Return the parameters of a write."""

    def moment(self) -> dict[str, Any]:
        """Return the parameters of every statement that looks at the time."""
        return {}

    def earliest(self, seconds: float) -> datetime:
        """
        Return the moment *seconds* ago, without a zone. Celery writes such dates in the application's zone; up to
        5.4, and for groups still, in UTC. A row does not tell the two apart, so the earlier moment counts.
        """
        moment, zones = moment_of_wall(seconds), {UTC} if self.grouped else {UTC, self.zone}
        return min(moment.astimezone(zone).replace(tzinfo=None) for zone in zones)

    @abstractmethod
    def before(self, seconds: float) -> Any:
        """Return the date of a row that is *seconds* old, in any zone that Celery may have used."""

    @abstractmethod
    def dated(self, moment: datetime) -> Any:
        """Return *moment*, in its own zone, in the type of dates."""

    def local(self, moment: datetime) -> Any:
        """Return *moment* in the type and the zone of Celery's dates."""
        return self.dated(moment.astimezone(self.zone))

    @abstractmethod
    def storing(self, record: Record, unless: Unless, expires: float | None) -> Operation[bool]:
        """Store *record* unless the row there stays; answers whether it is the record now."""

    @abstractmethod
    def storing_many(
        self, records: Sequence[Record], unless: Unless, expires: float | None
    ) -> Operation[set[str | None]]:
        """
        Store records of different ids; answers the `write_id`s of those that are the record now.
        """

    def replacing(self, record: Record, version: Row, expires: float | None) -> Ask[bool]:
        """
        Store *record* over exactly the one of *version*; answers whether that one was still there.
        """
        given = self.parameters(record.values, expires)
        given |= {f"match_{name}": value for name, value in version.items()}
        return Ask(self.statement("store_over"), given, bool)

    def reading(self, asked: Mapping[str, str]) -> Ask[list[Row]]:
        """Read the live rows of the keys in *asked*; each gets the id behind its key as "asked"."""
        answer = partial(self._asked, asked)
        # For one row the server always uses the index. A plan for several rows that it made while the
        # table was small would scan the table.
        if len(asked) == 1:
            given = {"key": next(iter(asked)), **self.moment()}
            return Ask(self.statement("read_one"), given, answer)
        given = {"keys": list(asked), **self.moment()}
        return Ask(self.statement("read"), given, answer)

    def _asked(self, asked: Mapping[str, str], rows: list[Row]) -> list[Row]:
        key = self.key
        return [{**row, "asked": asked[row[key]]} for row in rows if row[key] in asked]

    def reading_ends(self, asked: Mapping[str, str]) -> Ask[dict[str, float | None]]:
        """Read how many more seconds the rows of the keys in *asked* live, by this machine's clock."""
        given = {"keys": list(asked)}
        return Ask(self.statement("read_ends"), given, partial(self._lives, asked))

    def _lives(self, asked: Mapping[str, str], rows: list[Row]) -> dict[str, float | None]:
        return {row["asked"]: _life(row) for row in self._asked(asked, rows)}

    def deleting(self, keys: Collection[str]) -> Ask[int]:
        """Delete the live rows of *keys*; answers their number."""
        # In one order, so that no two deletions wait for each other.
        return Ask(self.statement("delete"), {"keys": sorted(keys), **self.moment()}, len)

    def purging(self) -> Ask[int]:
        """Delete a portion of the expired rows; answers their number."""
        return Ask(self.statement("purge"), self.moment(), len)

    def purging_others(self, seconds: float) -> Ask[int]:
        """
        Delete a portion of the rows that other programs wrote *seconds* ago or earlier; answers their number.
        """
        return Ask(self.statement("purge_others"), {"before": self.before(seconds)}, len)

    def ending(self, column: str, last: Place, size: int) -> Ask[Place | None]:
        """Find the last place of the next *size* rows in the order of *column*; `None` behind the end."""
        given = {**self._places(column, last=last), "size": size}
        return Ask(self.statement("end", column), given, lambda rows: rows[0].get("place"))

    def paging(
        self,
        column: str,
        last: Place,
        size: int,
        end: Place | None = None,
        wanted: Mapping[str, Any] | None = None,
    ) -> Ask[Page]:
        """
        Read the ids of *size* rows in the order of *column*; with *wanted*, those up to *end* that may meet
        its conditions.
        """
        given = {**self._places(column, last=last, end=end), "size": size, **self.moment()}
        given |= self.wanted(wanted or {})
        names = None if wanted is None else tuple(filter(self.compares, wanted))
        return Ask(self.statement("page", column, names), given, self._paged)

    def _places(self, column: str, **places: Place | None) -> dict[str, Any]:
        return {f"{n}_key" if column == self.key else n: place for n, place in places.items()}

    def wanted(self, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of the conditions *wanted*."""
        given = {"magic": ENVELOPE_MAGIC, **wanted}
        for name, days in (("since", -1), ("before", 1)):
            if name in wanted:
                given[name] = self.dated(wanted[name])
                given[f"{name}_day"] = self.dated(wanted[name] + timedelta(days))
        return given

    def tallying(self, moments: Sequence[datetime]) -> Ask[Tally]:
        """Count the live rows by state and age, see `coatcheck.Backend.tally`."""
        given = {f"moment{n}": self.dated(moment) for n, moment in enumerate(moments)}
        given |= {f"written{n}": self.local(moment) for n, moment in enumerate(moments)}
        return Ask(self.statement("tally", len(moments)), {**given, **self.moment()}, _counted)

    def _paged(self, rows: list[Row]) -> Page:
        found = [id_ for r in rows if r["alive"] and (id_ := id_of(r, self.key)) is not None]
        return Page(found, rows[-1]["place"] if rows else None, len(rows))


def _life(row: Row) -> float | None:
    """Return how many seconds are left; `inf` for a row that we keep, `None` for one of Celery's."""
    if not row.get("sealed"):
        return None
    end = aware(row.get("expires_at"))
    return math.inf if end is None else end.timestamp() - wall()


def _counted(rows: list[Row]) -> Tally:
    found: Counter[tuple[str, int | None]] = Counter()
    for row in rows:
        found[row.get("status") or PENDING, row.get("age")] += row["number"]
    return found
