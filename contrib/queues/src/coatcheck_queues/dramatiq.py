"""
Dramatiq: a result backend, and a middleware that tells of running tasks.

    attach(broker, "redis://localhost:6379/1", store_results=True)
"""

from __future__ import annotations

import sys
from typing import Any

from dramatiq import Broker, Message, Middleware
from dramatiq.broker import MessageProxy
from dramatiq.errors import ActorNotFound
from dramatiq.results import ResultBackend, ResultFailure, ResultMissing, ResultTimeout
from dramatiq.results import Results as ResultsMiddleware
from dramatiq.results.backend import DEFAULT_TIMEOUT

from coatcheck import AsyncResult, Results, WaitTimeoutError

from .runs import HEARTBEAT, Aborted, Runs


class CoatcheckBackend(ResultBackend):
    """
    Keeps Dramatiq's results in coatcheck's records, under the ids of the messages.

    Args:
        results: a URL, or the `coatcheck.Results` to store with; by default `COATCHECK_URL`.
        heartbeat: the seconds between two signs of life of a running task; `None` gives none.
        expect: record each task as PENDING when it is sent, for one more round trip.
        options: those of `coatcheck.by_url`, but for `expires`: Dramatiq's `result_ttl` counts.
    """

    def __init__(
        self,
        results: Results | str | None = None,
        *,
        heartbeat: float | None = HEARTBEAT,
        expect: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.runs = Runs(results, heartbeat, options)
        self.results: Results = self.runs.results
        self.expect = expect

    def of(self, message: Message[Any] | str) -> AsyncResult[Any]:
        """Return coatcheck's handle on the task of a message."""
        return self.results.AsyncResult(message if isinstance(message, str) else message.message_id)

    def get_result(
        self, message: Message[Any], *, block: bool = False, timeout: int | None = None
    ) -> Any:
        """
        Return the value. With *block*, wait for it up to *timeout* milliseconds, by default ten seconds.

        Raises `ResultMissing`, `ResultTimeout`, or `ResultFailure`, whose cause is the task's exception.
        """
        patience = (DEFAULT_TIMEOUT if timeout is None else timeout) / 1000 if block else 0
        try:
            meta = self.results.wait_for(message.message_id, timeout=patience)
        except WaitTimeoutError as error:
            raise (ResultTimeout if block else ResultMissing)(message) from error
        if meta.failure is None:
            return meta.result
        cause, name = meta.result, meta.failure.qualname.rpartition(".")[2]
        raise ResultFailure(f"actor raised {name}: {cause}", name, str(cause)) from cause

    def store_result(self, message: Message[Any], result: Any, ttl: int) -> None:
        """Store a value for *ttl* milliseconds."""
        self.runs.end(message.message_id, result, expires=ttl / 1000)

    def store_exception(self, message: Message[Any], exception: BaseException, ttl: int) -> None:
        """Store a failure for *ttl* milliseconds."""
        self.runs.end(message.message_id, error=exception, expires=ttl / 1000)


class Running(Middleware):
    """Records that tasks start, are tried again, or are skipped. It may stand anywhere among the middlewares."""

    def before_enqueue(self, broker: Broker, message: Message[Any], delay: int | None) -> None:
        """Record PENDING; or RETRY, if the task runs here and has failed."""
        backend, ttl = _storing(broker, message)
        if message.message_id in backend.runs:
            error = sys.exception()  # Dramatiq is handling it
            backend.runs.end(message.message_id, error=error or Aborted("sent again"), again=True)
        elif backend.expect and ttl:
            backend.results.expect(message.message_id, expires=ttl)

    def before_process_message(self, broker: Broker, message: MessageProxy) -> None:
        """Record STARTED."""
        backend, ttl = _storing(broker, message)
        if ttl:
            backend.runs.begin(
                message.message_id,
                expires=ttl,
                name=message.actor_name,
                queue=message.queue_name,
                retries=message.options.get("retries", 0),
            )

    def after_skip_message(self, broker: Broker, message: MessageProxy) -> None:
        """Record REVOKED: the actor was not called, because of the age of the message, for instance."""
        backend, ttl = _storing(broker, message)
        if ttl:
            backend.runs.end(message.message_id, error=Aborted("skipped"), expires=ttl)

    def before_ack(self, broker: Broker, message: MessageProxy) -> None:
        """Record the failure of a task that no middleware tries again or gives up."""
        backend, _ = _storing(broker, message)
        if message.message_id in backend.runs:
            error = getattr(message, "_exception", None)
            backend.runs.end(message.message_id, error=error or Aborted("acknowledged"))


def attach(
    broker: Broker,
    results: Results | str | None = None,
    *,
    store_results: bool = False,
    result_ttl: int | None = None,
    **options: Any,
) -> CoatcheckBackend:
    """
    Add Dramatiq's `Results` and `Running` to *broker*, and return the backend.

    *store_results* and *result_ttl* are those of Dramatiq's `Results`; *options* those of `CoatcheckBackend`.
    """
    backend = CoatcheckBackend(results, **options)
    broker.add_middleware(
        ResultsMiddleware(backend=backend, store_results=store_results, result_ttl=result_ttl)
    )
    broker.add_middleware(Running())
    return backend


def _storing(
    broker: Broker, message: Message[Any] | MessageProxy
) -> tuple[CoatcheckBackend, float]:
    """Return the backend, and for how many seconds it keeps results of the actor; 0 if it keeps none."""
    (middleware,) = (m for m in broker.middleware if isinstance(m, ResultsMiddleware))
    try:
        chosen = {**broker.get_actor(message.actor_name).options, **message.options}
    except ActorNotFound:
        return middleware.backend, 0
    stores = chosen.get("store_results", middleware.store_results)
    return middleware.backend, chosen.get("result_ttl", middleware.result_ttl) / 1000 * bool(stores)
