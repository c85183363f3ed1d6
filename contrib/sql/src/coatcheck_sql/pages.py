"""
The pages of a scan: which operation comes next. No I/O.
"""

from __future__ import annotations

from typing import Any, Final

from coatcheck.plugin import BATCH, PENDING, Query

from .letters import Letters, key_of
from .operations import Operation, Together
from .schema import Layout
from .tables import Page, Place, Table
from .work import Make

#: Less than the number of any row.
_FIRST: Final = -(2**63)
#: How many rows a page with conditions goes through: the rest of a large table may have no match.
_WINDOW: Final = 10_000
#: Not every database has earlier or later moments, with a day more.
_YEARS: Final = range(1001, 9999)


class Pages:
    """
    The ids that may match *query*, or of groups if *grouped*. ::

        while (make := pages.next()) is not None:
            ids = pages.came(run(make))
    """

    def __init__(self, query: Query, *, grouped: bool = False) -> None:
        self._query = query
        self._grouped = grouped
        self._last: Place | None = None if query.after is not None else _FIRST
        self._end: Place | None = None
        self._ended = False

    def next(self) -> Make[Any] | None:
        """Return the operation to run now; `None` at the end."""
        if self._ended:
            return None
        if self._query.narrows and self._end is None:
            return self._ending
        return self._paging

    def came(self, answer: Any) -> list[str]:
        """Return the ids in the operation's answer."""
        if not isinstance(answer, Page):
            self._end, self._ended = answer, answer is None
            return []
        if self._query.narrows:
            self._last, self._end = self._end, None
        else:
            self._last, self._ended = answer.last, answer.rows < BATCH
        return [id_ for id_ in answer.ids if id_.startswith(self._query.prefix)]

    def _ending(self, layout: Layout) -> Operation[Place | None]:
        table = self._table(layout)
        if table is None:
            return Together([], lambda _: None)
        return table.ending(self._column(layout), self._place(layout), _WINDOW)

    def _paging(self, layout: Layout) -> Operation[Page]:
        table = self._table(layout)
        if table is None:
            return Together([], lambda _: Page([], None, 0))
        column, last = self._column(layout), self._place(layout)
        if self._end is None:
            return table.paging(column, last, BATCH)
        wanted = _wanted(self._query, layout.letters)
        return table.paging(column, last, _WINDOW, self._end, wanted)

    def _table(self, layout: Layout) -> Table | None:
        return layout.groups if self._grouped else layout.tasks

    def _column(self, layout: Layout) -> str:
        return "id" if self._query.after is None else layout.written().key

    def _place(self, layout: Layout) -> Place:
        if self._last is None:
            return key_of(self._query.after or "", layout.letters)
        return self._last


def _wanted(query: Query, letters: Letters) -> dict[str, Any]:
    """Return the conditions that a database can compare, by their names."""
    state = (
        query.state if query.state != PENDING else None
    )  # other states that are no text read as this
    texts = {"state": state, "name": query.name, "worker": query.worker, "group_id": query.group}
    times = {"since": query.since, "before": query.before}
    return {
        **{name: text for name, text in texts.items() if text is not None and letters.holds(text)},
        **{name: time for name, time in times.items() if time is not None and time.year in _YEARS},
    }
