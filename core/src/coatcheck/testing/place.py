"""
A place of its own in a live store, where the contract leaves nothing behind.

In a key-value store it is a random prefix of keys. Other stores have no prefix: there it is the table or the
collection that the URL names, which has to be empty.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final, Self

from .. import Capability, by_url
from .._backends.backend import Backend
from .._backends.portions import batches
from .._results.results import Results
from .patience import PATIENCE
from .proof import has, has_keys, innermost
from .stacks import bounded

#: The variable that tells the contract's processes about the place.
VARIABLE: Final = "COATCHECK_TESTING_PLACE"
#: The operations whose keys are noted where no scan finds them. Children write records that their parents read.
_OF_RECORDS: Final = ("put", "put_many", "get_many")
_OF_GROUPS: Final = ("put_group", "put_group_tree")
#: Raises `Hang` where a part of the clean-up takes too long.
in_time: Final = partial(bounded, 2 * PATIENCE)


@dataclass(frozen=True)
class Place:
    """Where the contract works."""

    url: str
    #: The start of all keys.
    name: str
    #: Whether the store has keys.
    keyed: bool
    #: Whether a proxy can stand before the store.
    proxied: bool
    #: The file with the keys that were used.
    ledger: str

    @classmethod
    def of_environment(cls) -> Self | None:
        """Return the place that the process is to work in, if there is one."""
        text = os.environ.get(VARIABLE)
        return None if text is None else cls(**json.loads(text))

    def environment(self) -> dict[str, str]:
        """Return the environment of a process that is to work here."""
        return {**os.environ, VARIABLE: json.dumps(asdict(self))}

    def prefix(self, part: object, of: str = "task-meta-") -> str:
        """Return the prefix of the keys in a part of this place."""
        return f"{self.name}-{part}:{of}"

    def url_of(self, part: object, url: str | None = None) -> str:
        """Return the URL of a part of this place, by way of *url* if given."""
        url = url or self.url
        joint = "&" if "?" in url else "?"
        return f"{url}{joint}key_prefix={self.prefix(part)}" if self.keyed else url

    # -- the keys in use, and their deletion ---------------------------------------------

    def follow(self, results: Any) -> None:
        """
        Note the keys that no scan finds, from now on, for all backends of the class of *results*, in
        forked children too.
        """
        cls = type(innermost(results.backend))
        records = () if has(results, Capability.SCAN) else _OF_RECORDS
        for name in (*records, *_OF_GROUPS):
            method = getattr(cls, name)
            if not hasattr(method, "noted"):
                setattr(cls, name, self._noting(method))

    def _noting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(method):

            @wraps(method)
            async def noted(backend: Any, given: Any, *args: Any, **how: Any) -> Any:
                self._note(method.__name__, given)
                return await method(backend, given, *args, **how)
        else:

            @wraps(method)
            def noted(backend: Any, given: Any, *args: Any, **how: Any) -> Any:
                self._note(method.__name__, given)
                return method(backend, given, *args, **how)

        noted.__dict__["noted"] = True
        return noted

    def _note(self, name: str, given: Any) -> None:
        keys = [given] if isinstance(given, str) else list(given)
        keys = [key for item in keys if isinstance(key := _key_of(item), str)]
        line = json.dumps([name.startswith("put_group"), keys]).encode() + b"\n"
        with open(self.ledger, "ab", buffering=0) as file:  # noqa: PTH123 - each line whole
            file.write(line)

    def _used(self) -> tuple[set[str], set[str]]:
        """Return the keys, and the ids of groups."""
        keys: tuple[set[str], set[str]] = (set(), set())
        for line in Path(self.ledger).read_bytes().splitlines():
            is_group, found = json.loads(line)
            keys[is_group].update(found)
        return keys

    def sweep(self) -> int | None:
        """
        Delete all records of this place. Return how many are left nevertheless; `None` if the store
        cannot tell.
        """
        with by_url(self.url) as results:
            backend: Backend[Any] = innermost(results.backend) if self.keyed else results.backend
            keys, groups = self._used()
            with in_time("the deletion of the tests' groups"):
                for group_id in groups:
                    backend.delete_group(group_id)
            if not has(results, Capability.SCAN):
                _delete(backend, [k for k in keys if k.startswith(self.name) or not self.keyed])
                return None
            start = self.name if self.keyed else ""
            with in_time("the scan for the tests' records"):
                found = list(backend.scan(start))
            _delete(backend, found)
            with in_time("the scan for records that are left"):
                return sum(1 for _ in backend.scan(start))


def _key_of(item: Any) -> Any:
    return item[0] if isinstance(item, tuple) else item


def _delete(backend: Backend[Any], keys: Iterable[str]) -> None:
    # Each batch has a time of its own: there may be tens of thousands of records, and a slow disk.
    for batch in batches(keys):
        with in_time("the deletion of a part of the tests' records"):
            backend.delete_many(batch)


def is_free(results: Results) -> bool:
    """Whether the store has keys to prefix, or else is empty. Raises `UnsupportedError` if it cannot tell."""
    return has_keys(results) or next(iter(results.scan()), None) is None
