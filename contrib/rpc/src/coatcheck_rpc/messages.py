"""
The form of messages: Celery's, and ours, which have additional headers. No I/O.

A reply is a message on the default exchange, routed by the name of the reader's queue; its
correlation id is the task's id, its body the record.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass
from typing import Any, Final

from pika import BasicProperties

from coatcheck import ANY
from coatcheck.plugin import READY_STATES, Codec, Unless

#: How long the reader keeps the record, in milliseconds; 0 keeps it.
LIFE: Final = "coatcheck-expires"
#: The states that the record must not replace; "*" stands for all.
UNLESS: Final = "coatcheck-unless"
#: The hash of the record that this one replaces.
MATCH: Final = "coatcheck-if-match"
#: The task's id if it is too long for a correlation id.
TASK_ID: Final = "coatcheck-task-id"
_LONGEST_ID: Final = 255  # bytes, by the protocol
_TYPES: Final = {"json": "application/json", "msgpack": "application/x-msgpack",
                 "pickle": "application/x-python-serialize"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mail:
    """One message: a record, and the condition for storing it."""

    task_id: str
    body: bytes
    unless: Unless
    #: The hash of the record to replace; `None`: any that `unless` allows.
    match: str | None
    #: Seconds; `None` keeps the record.
    life: float | None
    #: A random word that lets the writer recognise the message; empty for a foreign one.
    token: str = ""


def new_token() -> str:
    """Return a random word that lets the writer recognise its message."""
    return os.urandom(12).hex()


def hash_of(body: bytes) -> str:
    """Return the hash of a record."""
    return hashlib.sha256(body).hexdigest()


def properties_of(mail: Mail, codec: Codec, *, persistent: bool) -> BasicProperties:
    """Return the properties of a message, Celery's and ours."""
    unless = "*" if mail.unless is ANY else ",".join(sorted(mail.unless))
    # Rounded up: a record lives at least as long as promised.
    life = 0 if mail.life is None else max(math.ceil(mail.life * 1000), 1)
    headers: dict[str, Any] = {LIFE: min(life, 2**62), UNLESS: unless}
    if mail.match is not None:
        headers[MATCH] = mail.match
    correlation_id = mail.task_id
    if len(correlation_id.encode()) > _LONGEST_ID:
        headers[TASK_ID] = correlation_id
        correlation_id = f"sha256-{hash_of(correlation_id.encode())}"
    serializer = codec.serializer
    # A serializer of kombu names the content type that its readers know.
    otherwise = getattr(serializer, "content_type", f"application/x-{serializer.name}")
    return BasicProperties(
        content_type=_TYPES.get(serializer.name, otherwise),
        content_encoding="utf-8" if serializer.text else "binary",
        headers=headers,
        delivery_mode=2 if persistent else 1,
        priority=0,
        correlation_id=correlation_id,
        message_id=mail.token,
    )


def mail_of(properties: BasicProperties, body: bytes, *, life: float) -> Mail | None:
    """
    Return the content of a message; `None` if it names no task. One of Celery's lives for *life* seconds.
    """
    headers: dict[str, Any] = properties.headers or {}
    task_id = headers.get(TASK_ID) or properties.correlation_id
    if not isinstance(task_id, str):
        return None
    token = properties.message_id
    match = headers.get(MATCH)
    return Mail(
        task_id,
        body,
        _unless_of(headers.get(UNLESS)),
        match if isinstance(match, str) else None,
        _life_of(headers.get(LIFE), life),
        token if isinstance(token, str) else "",
    )


def _unless_of(text: object) -> Unless:
    if not isinstance(text, str):
        return READY_STATES
    return ANY if text == "*" else frozenset(filter(None, text.split(",")))


def _life_of(milliseconds: object, otherwise: float) -> float | None:
    if not isinstance(milliseconds, int) or milliseconds < 0:
        return otherwise
    return milliseconds / 1000 or None
