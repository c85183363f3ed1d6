"""
coatcheck results as replies over RabbitMQ, in Celery's `rpc://` protocol.

URLs: `rpc://user:password@host:5672/vhost`, and `rpc+amqps://` over TLS. See `settings` for the
options. Each reading process has a queue of its own. `reply_to` returns its name, which workers must know.

    operations, client         the operations, once for both sides; the reader or sender behind them
    sync, asyncio              the backends: they drive the operations
    line, outcome, registry    the connection that all clients share, an answer to come, shared values
    session, posts, consumer   the thread of the connection; messages on their way; messages that arrive
    mailbox                    the records that arrived, and their election
    messages, errors           the form of a message; the driver's errors, and ours for each
    settings, celerysettings   the meaning of URLs and of Celery's settings
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, overload

from .options import RPCOptions as RPCOptions

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
    Return the name of the queue that *results* reads. A worker must know it, by the option `reply_to` or from a
    Celery task's message. The queue exists when this returns. Results for asyncio return an awaitable.
    """
    backend: Any = results.backend
    while hasattr(backend, "backend"):
        backend = backend.backend
    if not hasattr(backend, "reply_to"):
        raise TypeError(f"{type(backend).__name__} has no reply queue: use an rpc:// URL")
    name: str | Awaitable[str] = backend.reply_to()
    return name
