"""
A memory of the records that this process wrote last. No I/O.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Mark(NamedTuple):
    """
    A note that this process wrote a record under a name, so that something is likely there.

    Without marks, storing STARTED and then SUCCESS takes 1.57 times as long: `tests/bench/fast_paths.py`.
    """

    state: str | None = None
    #: Stands for exactly that record in the session, see `Connection.session`.
    token: str = ""
    session: object = None


#: Marks a record without a known state or token.
SOMETHING: Final = Mark()


class Recent:
    """The latest marks, at least `LIMIT` and at most twice as many. Shared by threads."""

    LIMIT = 4_096

    def __init__(self) -> None:
        self._new: dict[str, Mark] = {}
        self._old: dict[str, Mark] = {}

    def get(self, name: str) -> Mark | None:
        """Return the mark of *name*, if it is remembered."""
        return self._new.get(name) or self._old.get(name)

    def put(self, name: str, mark: Mark) -> None:
        """Remember *mark*."""
        new = self._new
        new[name] = mark
        if len(new) > self.LIMIT:
            self._old, self._new = new, {}

    def discard(self, name: str) -> None:
        """Forget *name*."""
        self._new.pop(name, None)
        self._old.pop(name, None)
