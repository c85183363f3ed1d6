"""
Records that a real Celery stored: read with the same state, date and value as by its own client.

The rows are those of `support.celery`.
"""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from support.celery import KEPT, by_id, rows, same, untagged

from coatcheck import states
from coatcheck.codec import Codec
from coatcheck.errors import ContentDisallowed, DecodeError
from coatcheck.meta import ResultMeta

READER = Codec(accept=["json", "msgpack", "pickle"])


def value_of(row: dict[str, Any]) -> str | None:
    """
    Return the stored record of *row*, if there is one.
    """
    keys = [key for key in row["raw"].get("keys", []) if "celery-task-meta-" in key["key"]]
    return keys[0]["value"] if keys else None


KEPT_ROWS = [json.loads(line) for line in (KEPT / "redis.jsonl").read_text().splitlines()]
RECORDS = by_id(row for row in rows("redis.jsonl") if value_of(row) is not None)


def decoded(row: dict[str, Any], reader: Codec = READER) -> ResultMeta:
    """
    Return our snapshot of the record of *row*.
    """
    return reader.decode(row["task_id"], base64.b64decode(value_of(row) or ""))


def needs_celery(meta: ResultMeta) -> bool:
    """
    Whether the value is a pickle that names modules which are not installed here.
    """
    return isinstance(meta.error, DecodeError) and "ModuleNotFoundError" in str(meta.error)


@RECORDS
def test_the_state_is_celerys(row):
    """
    The state is the one that Celery's client read, and is protected accordingly.
    """
    data = base64.b64decode(value_of(row))
    if row["serializer"] == "yaml":
        assert READER.state_of(data) is None
    else:
        document = row["meta"] if "status" in row["meta"] else {"status": decoded(row).status}
        assert document["status"] == decoded(row).status == READER.state_of(data)
        assert (document["status"] in states.READY_STATES) is decoded(row).ready


@RECORDS
def test_the_date_is_celerys(row):
    """
    The date is the one that Celery's client read, in UTC; naive ones mean UTC.
    """
    meta = decoded(row)
    read = row["read"].get("date_done")
    if row["serializer"] == "yaml" or needs_celery(meta) or (read and "$raises" in read):
        assert isinstance(meta.date_done, datetime | None)
    elif read is None:
        assert meta.date_done is None
    else:
        moment = datetime.fromisoformat(read["$datetime"])
        aware = moment if read["aware"] else moment.replace(tzinfo=UTC)
        assert aware == meta.date_done
        assert UTC is meta.date_done.tzinfo


@RECORDS
def test_the_value_is_celerys(row):
    """
    The value is the one that Celery's client read; where that one raises, ours is read too.
    """
    meta = decoded(row)
    if row["serializer"] == "yaml" or needs_celery(meta):
        assert isinstance(meta.error, DecodeError)
    elif "$raises" in row["meta"] or meta.status in states.EXCEPTION_STATES:
        assert meta.error is None
    elif "/5.2.7/json" in row["id"] and "lookalike" in row["id"]:
        # Its kombu had no tags, and a record does not say which kombu wrote it.
        assert datetime(2020, 1, 1) == meta.result  # noqa: DTZ001
    elif not isinstance(row["meta"]["result"], dict) or "$other" not in row["meta"]["result"]:
        assert same(untagged(row["meta"]["result"]), meta.result)


@RECORDS
def test_a_failure_is_celerys(row):
    """
    A failure has the type name and the arguments that Celery stored.
    """
    meta = decoded(row)
    if meta.failure is None:
        assert meta.status not in states.PROPAGATE_STATES or meta.error is not None
        return
    stored = meta.document["result"]
    wrapped = "UnpickleableExceptionWrapper"
    if isinstance(stored, dict) and stored.get("exc_type") != wrapped:
        assert stored["exc_type"] == meta.failure.qualname
        assert len(stored["exc_message"]) == len(meta.failure.args)
    assert isinstance(meta.result, Exception)
    assert meta.traceback == meta.document["traceback"]


@RECORDS
def test_the_other_fields_are_celerys(row):
    """
    Name, worker, queue, retries and arguments are the ones that Celery's client read.
    """
    meta = decoded(row)
    if row["serializer"] != "yaml" and not needs_celery(meta) and "$raises" not in row["meta"]:
        for name in ("name", "worker", "queue", "retries"):
            assert row["read"].get(name) == getattr(meta, name)
        for name in ("args", "kwargs"):
            assert same(untagged(row["meta"].get(name)), getattr(meta, name))
    assert row["task_id"] == meta.task_id


@by_id(row for row in rows("redis.jsonl") if row["serializer"] == "yaml" and value_of(row))
def test_yaml_names_the_option(row):
    """
    A record in YAML is not ours to read, and says which option could help.
    """
    with pytest.raises(DecodeError, match="serializer="):
        _ = decoded(row).result


@by_id(row for row in rows("redis.jsonl") if row["serializer"] == "pickle" and value_of(row))
def test_pickle_is_refused_by_default(row):
    """
    A pickled record is not decoded by a reader that does not accept it, and its state is shown.
    """
    meta = decoded(row, Codec())

    assert isinstance(meta.error, ContentDisallowed)
    assert row["meta"].get("status", meta.status) == meta.status


@by_id(rows("reader-behaviour.jsonl"))
def test_odd_records_do_not_break_the_reader(row):
    """
    A record on which Celery's reader was tried has the state it shows there, or is readable here
    where Celery's reader raises.
    """
    meta = READER.decode(row["task_id"], base64.b64decode(row["input"]))

    if "$raises" not in row["meta"]:
        assert row["meta"]["status"] == meta.status
        if meta.status not in states.EXCEPTION_STATES and row["input"]:
            assert same(untagged(row["meta"].get("result")), meta.result)
    assert isinstance(meta.error, DecodeError | None)
    assert isinstance(meta.ready, bool)
    assert isinstance(meta.date_done, datetime | None)


READABLE_HERE = {
    "reader/5.7.0/security/os.system",
    "reader/5.7.0/security/builtins.eval",
    "reader/5.7.0/exc/no_type",
    "reader/5.7.0/exc/type_null",
    "reader/5.7.0/exc/result_string",
    "reader/5.7.0/exc/result_int",
    "reader/5.7.0/typed/unknown_type",
}


def test_celerys_reader_raises_where_ours_does_not():
    """
    Of the odd records on which Celery's reader raises, these are read here, value and all.
    """
    odd = {row["id"]: row for row in rows("reader-behaviour.jsonl")}

    for name in READABLE_HERE:
        row = odd[name]
        meta = READER.decode(row["task_id"], base64.b64decode(row["input"]))
        assert "$raises" in row["meta"]
        assert meta.error is None


def test_the_kept_records_are_of_every_kind():
    """
    What is kept beside the tests has each serializer, compression and kind of state.
    """
    names = " ".join(row["id"] for row in KEPT_ROWS)

    for kind in ("/json/", "/pickle/", "/msgpack/", "/yaml/", "gzip", "zlib", "bzip2", "tokyo"):
        assert kind in names
    for kind in ("5.2.7", "state/retry", "state/revoked", "state/progress", "fail/group"):
        assert kind in names
