"""
The requests of an operation. No I/O.

An operation yields tries. A try yields requests: the link of a side sends them all within one deadline, and
repeats the try if it failed for the moment.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple, TypeVar

from coatcheck.plugin import BATCH

from .records import CODEC_OPTIONS

T = TypeVar("T")
Document = Mapping[str, Any]


class Command(NamedTuple):
    """A command. A read takes two thirds of the time that the driver's cursor takes."""

    collection: str
    document: dict[str, Any]
    writing: bool = True
    primary: bool = True

    def sent(self, collection: Any) -> Any:
        """
        Send the command by way of the driver's *collection*; return the reply, or its coroutine.
        """
        if self.writing:
            name, concern = "writeConcern", collection.write_concern.document
        else:
            name, concern = "readConcern", collection.read_concern.document
        return collection.database.command(
            {**self.document, name: concern} if concern else self.document,
            codec_options=CODEC_OPTIONS,
            read_preference=collection.read_preference,
        )


class Find(NamedTuple):
    """A query for several documents."""

    collection: str
    query: Document
    primary: bool = True
    options: Mapping[str, Any] = {}

    def sent(self, collection: Any) -> Any:
        """Return the driver's cursor."""
        return collection.find(self.query, batch_size=BATCH + 1, **self.options)


Request = Command | Find
#: Yields requests and receives the replies, or the driver's errors.
Steps = Generator[Request, Any, T]


class Try(NamedTuple):
    """Requests that are sent, and repeated, together: the steps of *act*, or a single request."""

    act: Callable[[], Steps[Any]] | Request
    writing: bool
