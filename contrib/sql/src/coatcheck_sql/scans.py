"""
The statements that go through all rows: for ids, a page at a time, and for counts. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from coatcheck.plugin import ENVELOPE_MAGIC

from .statements import Statements
from .wire import Statement

#: The columns with a task's words, each compared by the value of the same name.
WORDS: Final = ("name", "worker", "group_id")


class Scans(Statements):
    """The statements on one of the tables; conditions are for that of tasks."""

    def _has(self, *columns: str) -> bool:
        return self.present is None or set(columns) <= set(self.present)

    def compares(self, wanted: str) -> bool:
        """Return whether the table has the column for the condition of that name."""
        return wanted not in WORDS or self._has(wanted)

    def page(self, column: str, wanted: tuple[str, ...] | None) -> Statement:
        """
        Return the query for `:size` ids after `:last`, in the order of *column*: the primary key, which writes
        do not change, or the ids. Expired ones are included and marked, so that they do not make a page slower.

        With *wanted*, the names of conditions, it ends at `:end` and leaves out rows that do not meet them.
        """
        full = "r.full_id" if self._has("full_id") else "NULL"
        status = "NULL" if self.grouped else "r.status"
        names = ("place", self.key, "full_id", "status", "alive")
        types = {name: self.type_of(name) for name in names}
        conditions = [f"r.{column} > {self._bound('last', column)}"]
        if wanted is not None:
            conditions.append(f"r.{column} <= {self._bound('end', column)}")
            conditions += map(self._condition, wanted)
        return Statement(
            f"SELECT r.{column} AS place, r.{self.key} AS {self.key}, {full} AS full_id, "
            f"{status} AS status, ({self.alive}) AS alive FROM {self.name} AS r "
            f"WHERE {' AND '.join(conditions)} ORDER BY r.{column} LIMIT {self.bind('size')}",
            {**types, "place": self._place(column)},
        )

    def end(self, column: str) -> Statement:
        """Return the query for the last place of `:size` rows after `:last`."""
        rows = (
            f"SELECT r.{column} AS place FROM {self.name} AS r "
            f"WHERE r.{column} > {self._bound('last', column)} "
            f"ORDER BY r.{column} LIMIT {self.bind('size')}"
        )
        return Statement(
            f"SELECT MAX(w.place) AS place FROM ({rows}) AS w", {"place": self._place(column)}
        )

    def tally(self, number: int) -> Statement:
        """
        Return the count by state and age. There are *number* moments; the age says how many of them are at
        or after the task's end, or else its start.
        """
        age = _age(self.field("date_done"), self.bind, "written", number)
        if self._has("done_at", "date_started", "seal_status", "seal_date"):
            ours = _age("COALESCE(r.done_at, r.date_started)", self.bind, "moment", number)
            age = f"CASE WHEN {self.sealed} THEN {ours} ELSE {age} END"
        return Statement(
            f"SELECT r.status AS status, {age} AS age, COUNT(*) AS number FROM {self.name} AS r "
            f"WHERE {self.alive} GROUP BY 1, 2",
            {"status": "text", "age": "integer", "number": "integer"},
        )

    def _place(self, column: str) -> str:
        return "text" if column == self.key else "integer"

    def _bound(self, name: str, column: str) -> str:
        return self.bind(f"{name}_key" if column == self.key else name)

    def _condition(self, wanted: str) -> str:
        """
        Return the condition of that name. It is true for all rows that meet it, and for some others: words
        that do not fit are in `more`, and all words of a sealed record in its envelope.
        """
        if wanted == "state":
            return "r.status = :state"
        if wanted in WORDS:
            sealed = f"(r.{wanted} IS NULL AND substr(r.result, 1, {len(ENVELOPE_MAGIC)}) = {self.bind('magic')})"
            more = " OR r.more IS NOT NULL" if self._has("more") else ""
            return f"(r.{wanted} = :{wanted} OR {sealed}{more})"
        # The date that an index is for has the zone of its writer: a day more includes all of them.
        sign = ">=" if wanted == "since" else "<"
        condition = f"r.date_done {sign} {self.bind(f'{wanted}_day')}"
        if self._has("done_at", "seal_status", "seal_date"):
            exact = f"r.done_at {sign} {self.bind(wanted)}"
            condition += f" AND ({exact} OR {self.sealed} IS NOT TRUE)"
        return condition


def _age(date: str, bind: Callable[[str], str], moment: str, number: int) -> str:
    steps = [f"WHEN {date} > {bind(f'{moment}{n}')} THEN {n}" for n in range(number)]
    return f"CASE WHEN {date} IS NULL THEN NULL {' '.join(steps)} ELSE {number} END"
