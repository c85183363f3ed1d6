"""
Our reading of a captured record, compared with the reading of Celery's own client.

Every difference is of a kind that docs/reference/celery.md lists, or it is a mistake.
"""

from __future__ import annotations

import base64
import re
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import bson
from bson.codec_options import CodecOptions

from coatcheck import DecodeError, ResultMeta, TaskError, TaskRevokedError, WorkerLostError, states
from coatcheck._coding.codec import Codec
from support.celery import ROOT, UNTAG, same

ALL = ("json", "msgpack", "pickle")
PAGE = ROOT / "docs" / "reference" / "celery.md"

# The kinds, by the words that the page has for them.
RAISES = "Celery's reader raises"
UNTRUSTED = "class not trusted"
OWN = "class of our own"
APART = "kept apart"
WRAPPED = "wrapped by the worker"
CONSTRUCTOR = "constructor not run"
NO_FAILURE = "failure without an exception"
FOREIGN_READY = "ready, though never stored"
LOOKALIKE = "value like a tag"
YAML = "YAML"
MISSING = "pickle of a class that is not here"
EMPTY = "empty record"
NESTED = "group in a group"
CHORD = "chord's own keys"
ARGUMENT_DATES = "date among MongoDB's arguments"
LEFT_OUT = "fields left out"
TAKEN_APART = "captured at another time"
SECOND = "second ready reply"

AWARE: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)
#: How Celery shows a class whose constructor failed.
_FAILED = re.compile(r"<class '([\w.]+)'>\(")
#: Where Celery puts a class that it could not find.
_MADE_UP = ("celery.exceptions", "celery.backends.base")
_PLAIN = ("name", "worker", "retries", "queue")


def listed() -> set[str]:
    """
    Return the kinds of differences that the page lists.
    """
    text = PAGE.read_text(encoding="utf-8")
    table = text.partition("| difference |")[2].partition("\n\n")[0]
    return {line.split("|")[1].strip() for line in table.splitlines()[2:]}


def stored(row: dict[str, Any]) -> dict[str, bytes]:
    """
    Return the bytes of the row by key, without other types.
    """
    raw = row["raw"]
    found = [
        (item["key"], item.get("value")) for item in raw.get("keys", []) + raw.get("items", [])
    ]
    found += [(item["name"], item["value"]) for item in raw.get("files", [])]
    found += [(item["ejson"]["_id"], item["bson"]) for item in raw.get("documents", [])]
    found += [(row["task_id"], body) for body in [_elected(messages_of(row))] if body]
    return {key: base64.b64decode(value) for key, value in found if value is not None}


def messages_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """
    Return the messages of the row, in their order.
    """
    found: list[dict[str, Any]] = row.get("raw", {}).get("messages", [])
    return found


def _elected(messages: list[dict[str, Any]]) -> str | None:
    """
    Return the body of the message that is the record: the first ready one, or else the last.
    """
    bodies: list[str] = [message["body"] for message in messages]
    for body in bodies:
        if Codec(accept=ALL).state_of(base64.b64decode(body)) in states.READY_STATES:
            return body
    return bodies[-1] if bodies else None


def differences(  # noqa: C901, PLR0912 - a field at a time
    row: dict[str, Any], meta: ResultMeta
) -> Iterator[tuple[str, str | None]]:
    """
    Yield the fields in which *meta* differs from Celery's reading, each with the kind of the
    difference; `None` for one that has no excuse.
    """
    if "not_read" in row["read"]:  # it had been consumed, or could not be
        if raises(row["meta"]):
            yield "all", RAISES
        elif row["serializer"] == "yaml" and meta.known:
            yield "all", YAML if "serializer=" in str(meta.error) else None
        elif meta.ready:
            yield "state", None
        return
    if (messages := messages_of(row)) and _elected(messages) != messages[-1]["body"]:
        yield "all", SECOND
        return
    if taken_apart(row):
        yield "all", TAKEN_APART
        return
    excused = {}
    if isinstance(meta.error, DecodeError):
        excused = unreadable(row, meta)
        yield from excused.items()
        if "all" in excused:
            return
    read = row["read"]
    for field, theirs in read.items():
        if raises(theirs) or raises(read["state"]):
            yield field, RAISES
            continue
        kind = SAME
        if field in excused:
            continue
        if field in ("state", "ready", "successful", "failed"):
            kind = _compared_state(field, theirs, meta)
        elif field == "result" and theirs is None and meta.failure is not None:
            kind = NO_FAILURE if not meta.document.get("result") else None
        elif field == "result":
            kind = compared(theirs, meta.result, row)
        elif field == "get":
            kind = compared_get(theirs, meta, row)
        elif field == "date_done":
            kind = SAME if moment(theirs) == meta.date_done else None
        elif field == "children":
            kind = SAME if ids(theirs) == ids(meta.children) else None
        elif field in ("args", "kwargs"):
            kind = compared(theirs, getattr(meta, field), row)
        elif field in _PLAIN:
            kind = SAME if theirs == getattr(meta, field) else None
        if kind is None and theirs is None and row["backend"] == "mongodb":
            # As it is in the document.
            kind = LEFT_OUT if field in (*_PLAIN, "args", "kwargs") else None
        if kind != SAME:
            yield field, kind
    if not raises(row["meta"]):
        for field in ("traceback", "group_id", "parent_id"):
            if row["meta"].get(field) not in (getattr(meta, field), None):
                yield field, None


SAME = "same"


def raises(value: Any) -> bool:
    """
    Whether Celery raised where *value* should be.
    """
    return isinstance(value, dict) and "$raises" in value


def _compared_state(field: str, theirs: Any, meta: ResultMeta) -> str | None:
    ours = {"state": meta.status, "ready": meta.ready}
    ours |= {"successful": meta.successful, "failed": meta.failed}
    if ours[field] == theirs:
        return SAME
    return FOREIGN_READY if meta.status in states.FOREIGN_READY_STATES else None


def unreadable(row: dict[str, Any], meta: ResultMeta) -> dict[str, str | None]:
    """
    Judge a record whose value we do not read; its other fields are compared, unless it says
    "all".
    """
    text = str(meta.error)
    state = row["read"]["state"]
    if raises(state):
        return {"all": RAISES}
    if row.get("serializer") == "yaml":
        kind = YAML if "serializer=" in text else None
        # A store of fields has the others apart.
        return {"result": kind, "get": kind} if row["backend"] == "mongodb" else {"all": kind}
    if row.get("input") == "":
        return {"all": EMPTY if state == meta.status else None}
    missing = row["serializer"] == "pickle" and "cannot be imported here" in text
    kind = MISSING if missing else None
    return {"result": kind, "get": kind}


def taken_apart(row: dict[str, Any]) -> bool:
    """
    Whether Celery read another record than the one that was captured: it was replaced, or was gone.
    """
    if raises(row["meta"]) or "raw" not in row:
        return False
    data = [value for key, value in stored(row).items() if row["task_id"] in key]
    done = row["meta"].get("date_done")
    read = moment(row["read"].get("date_done"))
    if read is not None and read != moment(done):
        return True
    if isinstance(done, dict):  # a date of a document store: milliseconds
        # Of the bytes: other forms beside them were read at another time.
        return moment(done) not in [bson.decode(item, AWARE).get("date_done") for item in data]
    if done is None:
        gone = set(row["meta"]) == {"status", "result"} and row["meta"]["status"] == states.PENDING
        return gone and bool(data)
    return not any(done.encode() in inflated(value) for value in data)


def inflated(value: bytes) -> bytes:
    """
    Return the bytes that were compressed by zlib, or *value* as it is.
    """
    head, _, body = value.rpartition(b"application/x-gzip\x00")
    return zlib.decompress(body) if head else value


# -- values -----------------------------------------------------------------------------------


def moment(value: Any) -> datetime | None:
    """
    Return the time that text or a tag means; naive ones mean UTC.
    """
    if value is None:
        return None
    found = datetime.fromisoformat(value if isinstance(value, str) else value["$datetime"])
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def ids(children: Any) -> Any:
    """
    Return the ids of children, whichever way they are shown; those of groups with their members'.
    """
    if children is None:
        return None
    if isinstance(children, dict) and "$tuple" in children:
        children = children["$tuple"]
    return [_id(child) for child in children]


def _id(child: Any) -> Any:
    if isinstance(child, dict):
        if "$asyncresult" in child:
            return child["$asyncresult"]["id"]
        if "$groupresult" in child:
            group = child["$groupresult"]
            return [group["id"], [_id(member) for member in group["results"]]]
        child = child["$tuple"]
    if isinstance(child, str):
        return child
    if hasattr(child, "id"):  # Celery's own, out of a pickle
        return child.id
    own, members = child
    own = _id(own) if isinstance(own, dict) else own
    own = own if isinstance(own, str) else own[0]
    return own if members is None else [own, [_id(member) for member in members]]


def compared(theirs: Any, ours: Any, row: dict[str, Any]) -> str | None:
    """
    Return how *ours* compares with the tagged value *theirs*.
    """
    kinds = set(_compared(theirs, ours, row))
    if None in kinds:
        return None
    return next(iter(kinds - {SAME}), SAME)


def _compared(theirs: Any, ours: Any, row: dict[str, Any]) -> Iterator[str | None]:
    tag = next(iter(theirs), "") if isinstance(theirs, dict) else ""
    if tag == "$exception":
        yield compared_exception(theirs[tag], ours, row)
    elif tag == "$other":
        name = f"{type(ours).__module__}.{type(ours).__qualname__}"
        yield SAME if name == theirs[tag]["type"] else None
    elif tag in ("$asyncresult", "$groupresult"):
        yield SAME if _id(theirs) == _id(ours) else None
    elif tag == "$tuple" or isinstance(theirs, list):
        items = theirs[tag] if tag else theirs
        if type(ours) is not (tuple if tag else list) or len(items) != len(ours):
            yield None
        else:
            for one, other in zip(items, ours, strict=True):
                yield from _compared(one, other, row)
    elif tag == "$datetime" and row.get("backend") == "mongodb" and not theirs["aware"]:
        value = UNTAG[tag](theirs[tag])
        yield SAME if same(value, ours) else ARGUMENT_DATES if moment(theirs) == ours else None
    elif isinstance(theirs, dict) and tag not in UNTAG:
        yield from _compared_dict(theirs, ours, row)
    else:
        value = UNTAG[tag](theirs[tag]) if isinstance(theirs, dict) else theirs
        yield SAME if same(value, ours) else None


def _compared_dict(theirs: Any, ours: Any, row: dict[str, Any]) -> Iterator[str | None]:
    if type(ours) is dict and theirs.keys() == ours.keys():
        yield SAME
        for key in theirs:
            yield from _compared(theirs[key], ours[key], row)
        return
    # kombu before 5.3 had no tags, and a record does not say which one wrote it.
    old = row["celery"].startswith("5.2.")
    yield LOOKALIKE if old and theirs.keys() == {"__type__", "__value__"} else None


def compared_get(theirs: Any, meta: ResultMeta, row: dict[str, Any]) -> str | None:
    """
    Compare the return value or the error of `get()`.
    """
    if not meta.ready:
        return SAME if "TimeoutError" in str(theirs) else RAISES
    try:
        value = meta.get()
    except Exception as error:
        if "raises" in theirs:
            return compared_exception(theirs["raises"]["$exception"], error, row)
        return None
    if meta.status in states.FOREIGN_READY_STATES:
        return FOREIGN_READY
    # A record without something that only Celery needs.
    return compared(theirs["returns"], value, row) if "returns" in theirs else RAISES


def compared_exception(theirs: Any, ours: Any, row: dict[str, Any]) -> str | None:
    """
    Return how the exception *ours* compares with the described one.
    """
    if not isinstance(ours, BaseException):
        return None
    kind = type(ours)
    alike = compared(theirs["args"], ours.args, row) == SAME
    same_name = (kind.__module__, kind.__qualname__) == (theirs["module"], theirs["qualname"])
    if same_name and alike and not isinstance(ours, TaskError):
        return SAME
    failed = _FAILED.match(theirs["str"])
    if failed and theirs["qualname"] == "Exception":
        name = kind.__qualname__ if kind.__module__ == "builtins" else type_name(ours)
        return CONSTRUCTOR if failed[1].endswith(name) else None
    if theirs["qualname"] == "RuntimeError" and "No active exception" in theirs["str"]:
        return NO_FAILURE
    return compared_task_error(theirs, ours, row) if isinstance(ours, TaskError) else None


def type_name(error: Any) -> str:
    """
    Return the name of the class that the failure had.
    """
    return str(error.failure.type_name) if isinstance(error, TaskError) else ""


def compared_task_error(theirs: Any, ours: TaskError, row: dict[str, Any]) -> str | None:
    """
    Return how an exception under its own name compares.
    """
    failure = ours.failure
    if theirs["qualname"] == "UnpickleableExceptionWrapper":
        module, name, args, _ = theirs["args"]["$tuple"]
        names = (module, name) == (failure.module, failure.qualname)
        # In a list or a tuple, by the serializer.
        items = args["$tuple"] if isinstance(args, dict) else args
        return WRAPPED if names and compared(items, list(failure.args), row) == SAME else None
    if theirs["qualname"] != failure.qualname:
        return None
    if compared(theirs["args"], failure.args, row) != SAME:
        return CONSTRUCTOR if theirs["module"] == failure.module != "builtins" else None
    if isinstance(ours, (TaskRevokedError, WorkerLostError)):
        return OWN
    if theirs["module"] == "builtins" == failure.module:
        return APART
    return UNTRUSTED if theirs["module"] in (*_MADE_UP, failure.module) else None


# -- groups -----------------------------------------------------------------------------------


def members(group: Any) -> tuple[list[str], bool]:
    """
    Return the tasks' ids of a group that Celery read, those of groups in it in their place; and
    whether there was one.
    """
    results = group["$groupresult"]["results"] if isinstance(group, dict) else group
    found: list[str] = []
    nested = False
    for result in results:
        if "$groupresult" in result:
            found += members(result)[0]
            nested = True
        else:
            found.append(result["$asyncresult"]["id"])
    return found, nested
