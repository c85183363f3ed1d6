"""
Stored bytes are data, whoever wrote them: nothing is imported, looked up or called for them.
"""

import base64
import json
import pickle
from pathlib import Path

import bson
import pytest
from fuzz import targets
from fuzz.watched import watched

from coatcheck import ContentDisallowed, SerializationError, SignatureError, TaskError
from coatcheck._coding.codec import Codec
from coatcheck.testing.samples import BOMB, MARKS, _Calls
from coatcheck_mongo import records as documents
from coatcheck_sql import records as rows

CAPTURED = Path(__file__).parents[1] / "data" / "celery" / "reader-behaviour.jsonl"
ROWS = [json.loads(line) for line in CAPTURED.read_text(encoding="utf-8").splitlines()]
RECORDS = {
    row["id"]: base64.b64decode(row["input"]) for row in ROWS if isinstance(row.get("input"), str)
}
#: What a failure may name to hurt a reader that looks it up.
NAMES = [
    ("os", "system"), ("builtins", "eval"), ("builtins", "SystemExit"), ("builtins", "exit"),
    ("builtins", "KeyboardInterrupt"), ("builtins", "GeneratorExit"), ("builtins", "BaseException"),
    ("subprocess", "Popen"), ("antigravity", "fly"), ("coatcheck.testing.samples", "leave_mark"),
    ("coatcheck.testing.samples", "_Calls"), ("sys", "modules"), ("builtins", "type"),
]  # fmt: skip
KEYS = {"signing_keys": targets.KEYS}


@pytest.fixture(autouse=True)
def _nothing_was_called():
    MARKS.clear()
    for target in targets.TARGETS.values():
        target(b"")  # imports what is imported when it is first used
    yield
    assert [] == MARKS


@pytest.mark.parametrize("id_", RECORDS)
def test_records_that_were_made_for_celery(id_):
    """
    Each record that was captured to see what Celery's reader does with it is read here, in any
    store's form, and nothing happens.
    """
    data = RECORDS[id_]
    for decode in (targets.record, targets.fields, targets.sql, targets.inflated):
        with watched():
            decode(data)


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_failures_that_name_what_they_should_not(module, name):
    """
    A failure of any type is raised as an `Exception` that was made for it; what it names is not
    looked up, imported or called, and never ends the process.
    """
    celerys = {"exc_type": name, "exc_message": ["echo no"], "exc_module": module}
    ours = {"type": name, "module": module, "message": "echo no", "bases": [f"{module}.{name}"]}
    for extra in ({}, {"failure": ours}, {"failure": {**ours, "qualname": name}}):
        document = {"status": "FAILURE", "result": celerys, "task_id": "t", **extra}
        meta = Codec().decode("t", json.dumps(document).encode())
        with watched(), pytest.raises(TaskError) as caught:
            meta.get()
        assert isinstance(caught.value, Exception)


@pytest.mark.parametrize("column", [*sorted(rows._CODED), "traceback", "name", "worker", "full_id"])
@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("options", [{}, KEYS], ids=["plain", "signed"])
def test_pickles_in_rows(column, ours, options):
    """
    A pickle in whatever column of a row is not loaded, also where Celery itself would load it.
    """
    codec = Codec(**options)
    data = pickle.dumps(_Calls(), 4)
    for named in ("pickle", None, "json"):
        row = {"task_id": "t", "status": "SUCCESS", "result": b"1", "sealed": ours}
        row |= {"serializer": named, column: data}
        with watched():
            meta = rows.decoded(row, codec, None)
            error = meta.error
        if column == "result":
            assert isinstance(error, (ContentDisallowed, SignatureError, SerializationError))


@pytest.mark.parametrize("options", [{}, KEYS], ids=["plain", "signed"])
def test_pickles_in_documents(options):
    """
    A pickle in whatever field of a document is not loaded, though the document names it.
    """
    data = pickle.dumps(_Calls(), 4)
    names = ("result", "failure", "args", "kwargs", "children", "heartbeat")
    document = {"status": "SUCCESS", "serializer": "pickle", "encoded": [*names]}
    for name in names:
        found = bson.decode(bson.encode({**document, "result": data, name: data}))
        with watched():
            meta = documents.decoded({**found, "_id": "t"}, Codec(**options))
            assert isinstance(meta.error, (ContentDisallowed, SignatureError))


def test_the_pickle_would_have_done_it():
    """
    What these tests plant leaves its mark where it is loaded.
    """
    assert "SUCCESS" == pickle.loads(BOMB.record)["result"]
    assert ["called"] == MARKS
    MARKS.clear()
