"""
A sample of the stored records: those that nobody can read, and those that never expire.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Final

from .._backends.backend import Capability
from .._backends.checkup import Checkup, Finding, Level
from .._results.results import Results
from .._runtime.clocks import monotonic
from ..errors import ContentDisallowed, SignatureError
from .probing import is_probe

#: How many records are read at most.
SAMPLE: Final = 1_000
#: The seconds that reading them may take. The read under way is finished.
PATIENCE: Final = 10.0


def sample(results: Results, checkup: Checkup) -> Iterator[Finding]:
    """Read up to `SAMPLE` records."""
    if Capability.SCAN not in results.capabilities:
        what = "this store cannot list its records (capability SCAN)"
        yield Finding("records", Level.UNCHECKED, what)
        return
    ids: list[str] = []
    kept = 0
    unreadable: Counter[tuple[str, str]] = Counter()
    deadline = monotonic() + PATIENCE
    for meta in islice(results.scan(), SAMPLE):
        if not is_probe(meta):
            ids.append(meta.task_id)
            kept += meta.write_id is not None and meta.expires_at is None
            if meta.error is not None:
                unreadable[_fault(meta.error)] += 1
        if monotonic() > deadline:
            break
    for (fault, remedy), count in unreadable.items():
        what = f"{count} of {len(ids)} sampled records cannot be read: {fault}"
        yield Finding("records", Level.WARNING, what, remedy)
    if not unreadable:
        yield Finding("records", Level.SOUND, f"all of {len(ids)} sampled records can be read")
    if ids and results.expires is not None:
        yield from _expiry(checkup, ids, kept)


def _fault(error: Exception) -> tuple[str, str]:
    """Return the fault of a record that raised *error*, and the remedy."""
    if isinstance(error, ContentDisallowed):
        return (
            f"they are {error.serializer}, and accept= has {', '.join(error.accept)}",
            f"let their writers use another serializer, or, if you trust them, accept {error.serializer!r}",
        )
    if isinstance(error, SignatureError):
        return "their signatures do not verify", "give readers and writers the same signing_keys"
    return (
        "they are damaged, or need a key or a package that is missing here",
        "look at one by `coatcheck list` and `coatcheck get ID`, and forget it",
    )


def _expiry(checkup: Checkup, ids: list[str], kept: int) -> Iterator[Finding]:
    """
    Count the records that never expire. If the store cannot tell, that is *kept*, by the records themselves.
    """
    told = checkup.endless(ids)
    count = kept if told is None else told
    if count:
        what = f"{count} of {len(ids)} sampled records never expire, so the store grows"
        remedy = "let all writers set expires=, and forget() the old records"
        yield Finding("expiry", Level.WARNING, what, remedy)
    elif told is not None:
        yield Finding("expiry", Level.SOUND, f"all of {len(ids)} sampled records expire")
