"""
coatcheck results as replies over RabbitMQ, in Celery's `rpc://` protocol.

URLs: `rpc://user:password@host:5672/vhost`, and `rpc+amqps://` over TLS. See `settings` for the
options. Each process that reads has a queue of its own, which `reply_to` names; who stores is told.

    sync, asyncio                       the backends: what is asked for
    client                              what both have in common
    line                                the connection: one thread for all clients of a process
    mailbox                             what arrived, and which record it is
    settings, messages, errors          without I/O: what URLs, messages and errors mean
    celerysettings                      what the settings of Celery mean
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from coatcheck import Results
    from coatcheck.aio import Results as AioResults

__version__ = "0.2.0"


@overload
def reply_to(results: Results) -> str: ...


@overload
def reply_to(results: AioResults) -> Awaitable[str]: ...


def reply_to(results: Results | AioResults) -> str | Awaitable[str]:
    """
    Return the name of the queue by which *results* hears: a worker has to be told it, as the
    option `reply_to` or in a Celery task's message. The queue is there when this returns.

    With results for asyncio, it is awaited.
    """
    backend: Any = results.backend
    while hasattr(backend, "backend"):
        backend = backend.backend
    if not hasattr(backend, "reply_to"):
        raise TypeError(f"{type(backend).__name__} has no reply queue: use an rpc:// URL")
    name: str | Awaitable[str] = backend.reply_to()
    return name
