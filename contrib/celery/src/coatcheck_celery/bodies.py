"""
The body of a chord: the headers that it belongs to, and the callbacks for its failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from celery import Celery, Signature, chord, group, maybe_signature
from celery.app.task import Context
from celery.canvas import _chain  # `chain` is a function that returns one

#: A signature, or its form in JSON.
Body: TypeAlias = Signature | dict[str, object] | None
#: The identity of an error callback: task, args, kwargs.
Errback = list[object]


def members_of(body: Body, app: Celery) -> Iterator[Context]:
    """Iterate over the requests of the tasks that end *body* and are in a header themselves."""
    signature = maybe_signature(body, app=app)
    for part in _ends(signature):
        yield from members_of(part, app)
    if signature is not None and not _ends(signature) and signature.options.get("chord"):
        request = Context(signature.options)
        request.update(id=signature.id, group=signature.options.get("group_id"))
        yield request


def errbacks_of(body: Body, app: Celery) -> list[Errback]:
    """Return the error callbacks that are called when *body* fails."""
    signature = maybe_signature(body, app=app)
    if signature is None:
        return []
    own = [_identity(errback) for errback in _linked(signature)]
    return own + [found for part in _ends(signature) for found in errbacks_of(part, app)]


def untold(body: Body, told: Iterable[Errback], app: Celery) -> Signature | None:
    """
    Return *body* without the error callbacks that already heard of the same failure: *told*.

    `chord.link_error` links one callback to the body of a chord and to those of the chords in its
    header, so that it is called for whichever fails.
    """
    told = [list(errback) for errback in told]
    signature = maybe_signature(body, app=app)
    if not told or signature is None:
        return signature
    signature = signature.clone()
    left = [errback for errback in _linked(signature) if _identity(errback) not in told]
    if "link_error" in signature.options:
        signature.options["link_error"] = left
    if isinstance(signature, group):
        signature.tasks = [untold(task, told, app) for task in signature.tasks]
    return signature


def _ends(signature: Signature) -> list[Signature]:
    if isinstance(signature, group):
        return list(signature.tasks)
    if isinstance(signature, _chain):
        return list(signature.tasks[-1:])
    return [signature.body] if isinstance(signature, chord) else []


def _linked(signature: Signature) -> list[Signature]:
    linked = signature.options.get("link_error") or []
    return linked if isinstance(linked, list) else [linked]


def _identity(errback: Signature) -> Errback:
    return [errback["task"], list(errback["args"] or ()), dict(errback["kwargs"] or {})]
