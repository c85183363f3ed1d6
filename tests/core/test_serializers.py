"""
The serializers: round trips, the state from the first bytes, and who is found by name.
"""

import collections
import json
import math
import pickle
import sys
import threading
from datetime import UTC, datetime
from decimal import Decimal

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import coatcheck
import coatcheck.aio
from coatcheck._coding.serializers import (
    BUILTINS,
    JSONSerializer,
    MsgpackSerializer,
    PickleSerializer,
    get_serializer,
    peek_yaml,
)
from coatcheck._runtime import entrypoints
from coatcheck.errors import ConfigurationError, PluginError

JSON, MSGPACK, PICKLE = BUILTINS
HEAD = 128

STATES = st.sampled_from(
    ["PENDING", "STARTED", "SUCCESS", "FAILURE", "REVOKED", "CUSTOM_STATE", "GEPRÜFT", "", "\\"]
) | st.text(max_size=200)
#: Values that hold what a careless peek could take for the record's own state.
TRICKY = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text()
    | st.sampled_from(['{"status": "FAILURE"}', "status", "SUCCESS", '"status": "SUCCESS"']),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["status", "result", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.builds(
    lambda status, result, rest: {"status": status, "result": result, **rest},
    STATES,
    TRICKY,
    st.dictionaries(st.sampled_from(["traceback", "task_id", "v", "a"]), TRICKY, max_size=3),
)


@given(DOCUMENTS, st.sampled_from(BUILTINS))
def test_peek_agrees_with_loads(document, serializer):
    """
    The state that the first bytes show is the one of the whole record, or none is shown.
    """
    data = serializer.dumps(document, strict=False)

    assert serializer.peek(data[:HEAD]) in (None, serializer.loads(data)[0]["status"])


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60), st.booleans())
def test_peek_shows_the_states_that_are_written(word, custom):
    """
    The state of a record that has it first is shown by every serializer.
    """
    state = word.replace('"', "").replace("\\", "") if custom else "SUCCESS"
    document = {"status": state, "result": "x" * 1000}

    for serializer in BUILTINS:
        assert state == serializer.peek(serializer.dumps(document, strict=False)[:HEAD])


@given(TRICKY, st.sampled_from(BUILTINS))
def test_peek_never_reads_from_inside_the_result(result, serializer):
    """
    Where the result comes first, no state is shown, whatever the result holds.
    """
    data = serializer.dumps({"result": result, "status": "SUCCESS"}, strict=False)

    assert serializer.peek(data[:HEAD]) is None


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("dumps", [pickle.dumps, pickle._dumps], ids=["C", "Python"])
@given(document=DOCUMENTS)
def test_peek_reads_pickles_of_all_protocols(protocol, dumps, document):
    """
    The state of a pickle of protocol 2 to 5 is shown as it is, from short and long ones.
    """
    data = dumps(document, protocol)

    assert PICKLE.recognises(data[:HEAD])
    assert PICKLE.peek(data[:HEAD]) in (None, document["status"])
    assert "SUCCESS" == PICKLE.peek(dumps({"status": "SUCCESS", "result": 1}, protocol)[:HEAD])


@pytest.mark.parametrize("protocol", [0, 1])
def test_older_pickles_are_not_recognised(protocol):
    """
    Pickles that do not name their protocol are never guessed.
    """
    assert not PICKLE.recognises(pickle.dumps({"status": "SUCCESS"}, protocol))


@given(st.binary(max_size=300))
def test_peek_and_recognition_take_any_bytes(head):
    """
    Arbitrary bytes show a text or nothing, and never raise.
    """
    for serializer in BUILTINS:
        assert isinstance(serializer.peek(head), str | None)
        assert isinstance(serializer.recognises(head), bool)


@given(DOCUMENTS, st.integers(0, HEAD), st.sampled_from(BUILTINS))
def test_peek_of_cut_off_heads(document, length, serializer):
    """
    A head that is cut off shows the whole state or none, never a part of it.
    """
    data = serializer.dumps(document, strict=False)

    assert serializer.peek(data[:length]) in (None, document["status"])


@given(DOCUMENTS)
def test_no_record_is_recognised_twice(document):
    """
    The bytes of one serializer are recognised by no other.
    """
    for serializer in BUILTINS:
        head = serializer.dumps(document, strict=False)[:HEAD]
        assert [serializer] == [s for s in BUILTINS if s.recognises(head)]


def test_foreign_json_is_recognised_and_shown():
    """
    JSON with white space before the brace and around the colon is still a record's.
    """
    head = b'\n { "status" :\t"SUCCESS"}'

    assert JSON.recognises(head)
    assert "SUCCESS" == JSON.peek(head)


@pytest.mark.parametrize(
    "value",
    [None, True, 2**64 - 1, -(2**63), 1.5, math.inf, "ü", b"\xff", [1, [2]], {"a": {"b": []}}],
    ids=repr,
)
def test_msgpack_keeps_what_it_has(value):
    """
    What msgpack itself has comes back as it was, under strict as well.
    """
    for strict in (False, True):
        data = MSGPACK.dumps({"result": value}, strict=strict)
        assert ({"result": value}, False) == MSGPACK.loads(data)
        assert value == MSGPACK.revive(value)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ({1}, TypeError),
        (datetime(2026, 1, 1, tzinfo=UTC), TypeError),
        (Decimal(1), TypeError),
        (1j, TypeError),
        ({1: 2}, TypeError),
        ([{"a": {None: 1}}], TypeError),
        (2**64, OverflowError),
        ("\udcff", UnicodeEncodeError),
        (bytearray(b"x"), TypeError),
        (collections.OrderedDict(a=1), TypeError),
    ],
    ids=repr,
)
def test_msgpack_refuses_what_would_change(value, error):
    """
    What msgpack would change, drop or fail to read back is refused.
    """
    with pytest.raises(error):
        MSGPACK.dumps({"result": [value]}, strict=False)


def test_msgpack_makes_lists_of_tuples_unless_strict():
    """
    A tuple becomes a list by default, and is refused under strict.
    """
    assert [1, [2]] == MSGPACK.loads(MSGPACK.dumps({"r": (1, (2,))}, strict=False))[0]["r"]
    with pytest.raises(TypeError, match="msgpack has no tuple"):
        MSGPACK.dumps({"r": [(1, 2)]}, strict=True)


def test_msgpack_reads_long_and_old_states():
    """
    A state of 8-bit length is shown; one of the old raw type is left to the full decoding.
    """
    long = "S" * 100
    assert long == MSGPACK.peek(msgpack.packb({"status": long, "r": 1}))
    assert MSGPACK.peek(msgpack.packb({"status": b"SUCCESS"})) is None
    assert MSGPACK.peek(b"\xdf\x00\x00\x00\x01\xa6status\xa7SUCCESS") == "SUCCESS"
    assert MSGPACK.peek(b"\xde\x00\x01\xa6status\xa7SUCCESS") == "SUCCESS"


def test_msgpack_reads_foreign_keys():
    """
    A map with keys that are no text is read, where Celery's reader fails.
    """
    assert ({"result": {1: 2}}, False) == MSGPACK.loads(msgpack.packb({"result": {1: 2}}))


def test_msgpack_that_is_not_installed_is_named(monkeypatch):
    """
    Without the package the error names the extra that brings it.
    """
    monkeypatch.setitem(sys.modules, "msgpack", None)

    with pytest.raises(PluginError, match=r"pip install 'coatcheck\[msgpack\]'"):
        MSGPACK.dumps({"a": 1}, strict=False)


def test_pickle_keeps_every_type():
    """
    Pickle brings back types that no other serializer has, tuples under strict too.
    """
    value = ({1}, datetime(2026, 1, 1, tzinfo=UTC), collections.Counter("aab"), 2**5000, (1,))

    document, tagged = PICKLE.loads(PICKLE.dumps({"result": value}, strict=True))

    assert value == document["result"]
    assert not tagged


def test_pickle_refuses_what_has_no_pickle():
    """
    A lock cannot be pickled.
    """
    with pytest.raises(TypeError, match="cannot pickle"):
        PICKLE.dumps({"result": threading.Lock()}, strict=False)


def test_json_says_whether_tags_may_be_there():
    """
    Only a document with the tags' key in it has to be revived.
    """
    plain = JSON.dumps({"result": 1}, strict=False)
    tagged = JSON.dumps({"result": {1}}, strict=False)

    assert ({"result": 1}, False) == JSON.loads(plain)
    assert JSON.loads(tagged)[1]
    assert {"result": {1}} == JSON.revive(JSON.loads(tagged)[0])


def test_json_documents_are_never_a_tag_themselves():
    """
    A record with an unknown key that looks like a tag's is written as it is.
    """
    document = {"status": "SUCCESS", "__type__": "x"}

    assert document == json.loads(JSON.dumps(document, strict=True))


def test_json_is_ascii():
    """
    Text beyond ASCII is escaped, lone surrogates too, so that every store and reader takes it.
    """
    data = JSON.dumps({"result": "ü\udcff"}, strict=False)

    assert data.isascii()
    assert "ü\udcff" == JSON.loads(data)[0]["result"]


@pytest.mark.parametrize(
    ("name", "cls"),
    [("json", JSONSerializer), ("msgpack", MsgpackSerializer), ("pickle", PickleSerializer)],
)
def test_built_in_serializers_are_found_without_a_scan(name, cls, monkeypatch):
    """
    A built-in name needs no look at the installed distributions.
    """
    monkeypatch.setattr(entrypoints, "_scan", None)

    assert isinstance(get_serializer(name), cls)


def test_serializers_may_be_given_as_objects():
    """
    What is no name is taken for the serializer itself.
    """
    own = JSONSerializer()

    assert own is get_serializer(own)


def test_unknown_serializers_name_the_known_ones():
    """
    The error for an unknown name lists those there are.
    """
    with pytest.raises(ConfigurationError, match="unknown serializer 'yaml': use one of json, "):
        get_serializer("yaml")


YAML = """
class YAML:
    name = "yaml"
"""


def test_plugins_serializers_are_found_by_entry_point(distribution):
    """
    A serializer that a distribution offers is loaded and made.
    """
    distribution("coat-yaml", "coatcheck.serializers", yaml="coat_yaml:YAML", coat_yaml=YAML)

    assert "YAML" == type(get_serializer("yaml")).__name__


def test_two_claims_to_a_serializer_are_an_error(distribution):
    """
    A name that two distributions claim is refused, naming both.
    """
    distribution("coat-yaml", "coatcheck.serializers", yaml="coat_yaml:YAML")
    distribution("other-yaml", "coatcheck.serializers", yaml="other_yaml:YAML")

    with pytest.raises(ConfigurationError, match=r"coat-yaml 1\.0 and by other-yaml 1\.0"):
        get_serializer("yaml")


CELERYS_YAML = b"""children: []
date_done: '2026-01-01T00:00:00+00:00'
result: "status: FAILURE

  status: PENDING"
status: SUCCESS
task_id: t
traceback: null
"""


async def test_yaml_shows_its_state(tmp_path):
    """
    A wait for a record that Celery wrote in YAML ends at once, with the reason; it stays the first
    ready record.
    """
    url = tmp_path.as_uri()
    (tmp_path / "celery-task-meta-t").write_bytes(CELERYS_YAML)
    with coatcheck.by_url(url) as results:
        meta = results.get_task_meta("t")
        assert ("SUCCESS", True) == (meta.status, meta.ready)
        with pytest.raises(coatcheck.DecodeError, match="serializer="):
            results.AsyncResult("t").get(timeout=3600)
        assert not results.store_result("t", 1)
    async with coatcheck.aio.by_url(url) as results:
        with pytest.raises(coatcheck.DecodeError, match="serializer="):
            await results.AsyncResult("t").get(timeout=3600)


@pytest.mark.parametrize(
    "data", [b"", b"status: ", b"x: 1\n  status: SUCCESS\n", b"astatus: SUCCESS"]
)
def test_no_state_in_other_text(data):
    """
    Only a key of the document itself is its state.
    """
    assert peek_yaml(data) is None
