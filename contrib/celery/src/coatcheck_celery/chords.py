"""
Chords: which member of the header is the last, and the values that the body gets.

Nothing is counted. Each member of the header leaves a part, written only if absent, and then looks
whether all parts are there. The last member sees them all, however often it runs, and one atomic claim
elects the member that starts the body. A lost reply, a member that is delivered twice and a worker that
dies in between are the same case: look again.

The parts are records with ids of their own, `celery-chord-<group>.<body>.<part>`, deleted at the end. A
frozen chord can be applied again: the header's tasks keep their ids, the body usually gets a new one.
So each body has its own parts, except those that start with a "t": Celery does not always name the body.

========== ====================================================================================
size       the number of parts
p<i>       the member with this `group_index` is over; `.1`, `.2` where several share an index
overlap    some members share an index: then all parts must be read
upto       about the highest index, where some indexes are missing
tsize      the size of a chord, written by a process that does not know the body
t<i>       a task was added to the chord
header     the nesting of the header, if it holds groups
claim      the task of the header that starts the body. It lasts, so that a late one finds it
========== ====================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, Final, TypeAlias

from celery import states
from celery.exceptions import ChordError

import coatcheck
from coatcheck import ANY
from coatcheck.plugin import ResultMeta, Unless, batches, new_document

from .bodies import Errback
from .records import Meta, meta_of

#: A task's id and its parent's, with the members of a group: Celery's pairs, as JSON has them.
Member: TypeAlias = Sequence[Any]
#: The contents of parts, by name.
Parts: TypeAlias = dict[str, Any]
#: Turns a stored exception in a meta into an exception.
Read: TypeAlias = Callable[[Meta], Meta]
#: The state of these records. It is not ready, and no task has it.
STATE: Final = "CHORD"
#: A member reads the block of parts with its own, and the others once these are complete.
BLOCK: Final = 50
#: A claim for a member that did not finish lasts at least this many seconds.
LEASE: Final = 60.0
#: For this time, in seconds, the store remembers that a chord is over.
DONE: Final = 3600.0


class Chord:
    """
    One chord in the store.

    Args:
        body: the id of the task that ends its body.
        expires: how long its records live, in seconds; `None` keeps them.
        timeout: seconds to wait for the records of members; `None` waits for ever.
        patiently: repeats a function while the store is away.
    """

    def __init__(
        self,
        results: coatcheck.Results,
        group_id: str,
        body: str = "",
        *,
        expires: float | None,
        timeout: float | None,
        patiently: Callable[[Callable[[], Any]], Any],
    ) -> None:
        self._store = results.backend
        self._codec = results.backend.codec
        self.results = results
        self.group_id = group_id
        self._prefix = f"celery-chord-{group_id}."
        self._size = "size" if body else "tsize"
        self._own_prefix = f"{self._prefix}{body}."
        self._expires = expires
        self.timeout = timeout
        self._lease = max(LEASE, 2 * (timeout or 0))
        self.patiently = patiently

    # -- records --------------------------------------------------------------------------

    def _put(
        self, part: str, value: object, unless: Unless = ANY, expires: float | None = None
    ) -> bool:
        task_id = self._id(part)
        lifetime = self._expires if expires is None else expires
        record = self._codec.written(new_document(task_id, STATE, value, expires=lifetime))
        won: bool = self.patiently(
            lambda: self._store.put(task_id, record, unless=unless, expires=lifetime)
        )
        return won

    def _get(self, parts: Iterable[str]) -> Parts:
        names = {self._id(part): part for part in parts}
        found: Parts = {}
        for batch in batches(names):
            records = self.patiently(partial(self._store.get_many, batch))
            found.update({names[id_]: record.result for id_, record in records.items()})
        return found

    def _id(self, part: str) -> str:
        return (self._prefix if part.startswith("t") else self._own_prefix) + part

    def _delete(self, parts: Iterable[str]) -> None:
        for batch in batches(map(self._id, parts)):
            self.patiently(partial(self._store.delete_many, batch))

    # -- before it starts -----------------------------------------------------------------

    def begin(self) -> None:
        """Begin another run, before any of its members is sent."""
        self._delete(["claim"])

    def save_header(self, members: list[Member]) -> None:
        """Keep the nesting of a header: Celery's pairs."""
        self._put("header", members, unless=frozenset())

    def set_size(self, size: int) -> None:
        """Record the number of parts. The last member is not sent before that."""
        # Before Celery 5.7 a group inside the header says its own size, under the id of the header.
        known = self._get([self._size]).get(self._size, 0)
        self._put(self._size, max(size, known), unless=frozenset())

    def add(self, task_id: str) -> None:
        """Have the chord wait for one task more."""
        n = 0
        while not self._put(f"t{n}", task_id):
            if self._get([f"t{n}"]).get(f"t{n}") == task_id:  # it is added twice
                return
            n += 1

    # -- a member is over -----------------------------------------------------------------

    def arrive(self, task_id: str, index: int | None, value: list[object]) -> Completion | None:
        """
        Leave the part of a member. Return the completion if this member must start the body.

        Args:
            index: its place in the header; several may have the same, or none.
            value: empty if its record holds the value; else the state, the value, and of a
                failure the error callbacks that were called for it.
        """
        place = 0 if index is None else int(index)
        part, n = f"p{place}", 0
        while not self._put(part, {"task_id": task_id, "value": value}):
            if self._get([part]).get(part, {}).get("task_id") == task_id:
                break
            self._put("overlap", 1)  # before the part: whoever sees all parts sees this
            n += 1
            part = f"p{place}.{n}"
        parts = self._parts_if_complete(part, place)
        if parts is None or not self._claim(task_id):
            return None
        return Completion(self, task_id, parts)

    def _parts_if_complete(self, part: str, place: int) -> Parts | None:
        start = place - place % BLOCK
        own = [f"p{i}" for i in range(start, start + BLOCK)]
        found = self._get(["claim", "size", "tsize", "overlap", "upto", *own])
        claim = found.pop("claim", "")
        size = found.pop("tsize", None)
        size = found.pop("size", size)
        if claim is None:  # a late copy of a member: it was over
            self._delete([part, "overlap"])
        if size is None or claim is None:  # or not all are sent yet
            return None
        upto = found.pop("upto", size - 1)
        if place > upto:
            self._put("upto", place)
            upto = place
        # Several members may write it at once, so it is only about the highest.
        upto += BLOCK if upto >= size else 0
        shared = found.pop("overlap", None)
        if not (shared or upto >= size):
            if len(found) < min(size - start, BLOCK):
                return None
            if size <= BLOCK:
                return self._if_all(found, size)
        parts = self._get(f"p{i}" for i in range(upto + 1))
        if shared:
            parts.update(self._shared(parts))
        return self._if_all(parts, size)

    def _if_all(self, parts: Parts, size: int) -> Parts | None:
        # Added tasks are counted after the parts were read, since no store reads both at one moment: a
        # member adds to the chord before it leaves its part.
        return parts if len(parts) >= size and len(parts) >= size + self._count_added() else None

    def _shared(self, parts: Iterable[str]) -> Parts:
        """Return the parts of members that share an index with one of *parts*."""
        shared: Parts = {}
        n, places = 0, list(parts)
        while places:
            n += 1
            found = self._get(f"{place}.{n}" for place in places)
            shared.update(found)
            places = [part.partition(".")[0] for part in found]
        return shared

    def _count_added(self) -> int:
        count = step = 0
        while step == count:
            step += BLOCK
            count = len(self._get(f"t{i}" for i in range(step)))
        return count

    def _claim(self, task_id: str) -> bool:
        """
        Whether *task_id* starts the body. It does so again when it runs again: the first run did not
        reach the end.
        """
        if self._put("claim", task_id, expires=self._lease):
            return True
        return bool(self._get(["claim"]).get("claim") == task_id)

    def close(self, task_id: str, parts: Iterable[str]) -> None:
        """
        Record that the body was started, or cannot be, and delete the other parts.

        If the chord was applied again with the same body, everything belongs to that run and stays.
        """
        if not self._end_claim(task_id):
            return
        added = (f"t{i}" for i in range(self._count_added()))
        self._delete(["size", "tsize", "header", "overlap", "upto", *added, *parts])

    def _end_claim(self, task_id: str) -> bool:
        claim = self._id("claim")
        found = self.patiently(partial(self._store.get_many, [claim])).get(claim)
        if found is None or found.result != task_id:
            return False
        record = self._codec.written(new_document(claim, STATE, None, expires=DONE))
        put = partial(self._store.put, claim, record, unless=frozenset(), expires=DONE)
        ended: bool = self.patiently(partial(put, if_match=found))
        return ended

    def header(self) -> list[Member] | None:
        return self._get(["header"]).get("header")


class Completion:
    """All members are over, and this process starts the body with their values."""

    def __init__(self, chord: Chord, task_id: str, parts: Parts) -> None:
        self._chord = chord
        self._task_id = task_id
        self._parts = dict(sorted(parts.items(), key=lambda item: _order(item[0])))
        self._order = [part["task_id"] for part in self._parts.values()]
        self._given = {p["task_id"]: p["value"] for p in self._parts.values() if p["value"]}
        self._records: dict[str, ResultMeta] = {}
        self._header: list[Member] | None = None
        #: The error callbacks that were called for the member which failed.
        self.told: list[Errback] = []

    def read(self) -> None:
        """
        Read the records of the other members, and wait for those that workers are about to write. Raises
        `WaitTimeoutError`.
        """
        self._header = self._chord.header()
        ids = [*self._order, *_leaves(self._header or ())]
        self._wait(id_ for id_ in ids if id_ != self._task_id)

    def _wait(self, ids: Iterable[str]) -> None:
        results = self._chord.results
        found = self._chord.patiently(partial(results.get_many, list(ids)))
        self._records.update(found)
        late = [i for i, record in found.items() if not record.ready and i not in self._given]
        if late:
            with closing(results.as_completed(late, timeout=self._chord.timeout)) as records:
                self._records.update({record.task_id: record for record in records})

    def values(self, read: Read) -> list[object]:
        """
        Return the values of the members, in the order and with the nesting of the header.

        Raises `ChordError` for the first failure. *read* turns stored exceptions into exceptions.
        """
        self._wait([self._task_id])
        values = {task_id: self._value(task_id, read) for task_id in self._records}
        if self._header:
            return [_nested(member, values) for member in self._header]
        return [values[task_id] for task_id in self._order]

    def _value(self, task_id: str, read: Read) -> object:
        record = self._records[task_id]
        given = self._given.get(task_id)
        if record.ready or not given:
            meta = read(meta_of(record))
        else:
            state, value, _ = given
            meta = read({"status": state, "result": value})
        if meta["status"] in states.PROPAGATE_STATES:
            error = meta["result"]
            self.told = given[2] if given else []
            raise ChordError(f"Dependency {task_id} raised {error!r}") from error
        return meta["result"]

    def close(self) -> None:
        self._chord.close(self._task_id, self._parts)


def body_id_of(body: object) -> str:
    """
    Return the id of the task that ends *body*, a signature; an empty text if it has no id yet.
    """
    if not isinstance(body, Mapping):
        return ""
    own = (body.get("options") or {}).get("task_id")
    tasks = (body.get("kwargs") or {}).get("tasks")
    return str(own or (body_id_of(tasks[-1]) if isinstance(tasks, (list, tuple)) and tasks else ""))


def _order(part: str) -> tuple[int, int]:
    place, _, n = part[1:].partition(".")
    return int(place), int(n or 0)


def _leaves(members: Iterable[Member]) -> Iterator[str]:
    for own, children in members:
        if children is None:
            yield own[0]
        else:
            yield from _leaves(children)


def _nested(member: Member, values: Mapping[str, object]) -> object:
    own, children = member
    return values[own[0]] if children is None else [_nested(child, values) for child in children]
