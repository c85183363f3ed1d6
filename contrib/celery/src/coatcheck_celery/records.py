"""
Celery's metas, which are dicts, and coatcheck's records.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from celery import states
from celery.exceptions import BackendGetMetaError, BackendStoreError
from kombu import exceptions as kombu

import coatcheck
from coatcheck.plugin import Codec, Failure, ResultMeta, checked_id, new_document

#: The types of ids that Celery accepts.
TaskId = str | bytes | UUID
#: Celery's meta.
Meta = dict[str, Any]
#: Keys that only coatcheck's readers need.
_OURS: Final = (
    "v", "write_id", "failure", "expires_at", "date_started", "heartbeat", "attempt", "extra",
    "traceparent", "once",
)  # fmt: skip


def id_of(task_id: TaskId) -> str:
    """Return *task_id* as text. Raises `ValueError`."""
    text = task_id.decode() if isinstance(task_id, bytes) else str(task_id or "")
    return checked_id(text)


def record_of(
    codec: Codec,
    task_id: str,
    meta: Mapping[str, Any],
    error: BaseException | None,
    expires: float | None,
) -> ResultMeta:
    """
    Return the record of Celery's *meta*: its keys unchanged, followed by our own.

    Args:
        error: the exception in it. Readers in coatcheck get all of it.
        expires: its lifetime in seconds.
    """
    failure = None if error is None else Failure.of(error).to_document(codec.keep)
    ours = new_document(task_id, meta["status"], meta["result"], failure=failure, expires=expires)
    return codec.written({**meta, **{key: ours[key] for key in ours if key not in meta}})


def meta_of(record: ResultMeta) -> Meta:
    """
    Return Celery's meta, exceptions still as stored. Raises kombu's errors for a damaged record.
    """
    if not record.known:
        return {"status": states.PENDING, "result": None}
    with celery_errors(record.task_id):
        if record.error is not None:
            raise record.error
    meta = {"traceback": None, "children": None, **record.values()}
    for key in _OURS:
        meta.pop(key, None)
    return {**meta, "task_id": record.task_id}


@contextmanager
def celery_errors(task_id: TaskId | None = None, state: str | None = None) -> Iterator[None]:
    """Raise coatcheck's errors as those that Celery's callers expect. A write has a *state*."""
    try:
        yield
    except (coatcheck.EncodeError, coatcheck.ResultTooLargeError) as error:
        # With this error a worker stores the failure instead.
        raise kombu.EncodeError(str(error)) from error
    except coatcheck.ContentDisallowed as error:
        raise kombu.ContentDisallowed(str(error)) from error
    except (coatcheck.DecodeError, coatcheck.SignatureError) as error:
        raise kombu.DecodeError(str(error)) from error
    except coatcheck.BackendError as error:
        if state is None:
            raise BackendGetMetaError(str(error), task_id=task_id) from error
        raise BackendStoreError(str(error), task_id=task_id, state=state) from error
