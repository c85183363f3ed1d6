"""
Values that are nested deeply: refused when they are stored, or read back equal.
"""

import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

import coatcheck
from coatcheck._coding.codec import Codec
from coatcheck._coding.jsontags import MAX_DEPTH
from coatcheck._record.describing import MAX_DEPTH as MAX_CAUSES
from coatcheck._record.documents import new_document
from coatcheck.errors import EncodeError, TaskError

#: One level around a value.
SHAPES = {
    "list": lambda value: [value],
    "list of more": lambda value: [value, *range(20)],
    "dict": lambda value: {"a": value},
    "dict of more": lambda value: {"a": value} | dict.fromkeys(map(str, range(20))),
    "dict of numbers": lambda value: {1: value},
    "dict like a tag": lambda value: {"__type__": value, "__value__": 1},
    "key": lambda value: {(value,): 1} if _is_hashable(value) else [value],
    "tuple": lambda value: (value,),
    "frozenset": lambda value: frozenset({value}) if _is_hashable(value) else [value],
}
KINDS = ["json", "msgpack", "pickle"]


def _is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def nested(names):
    value = 0
    for name in names:
        value = SHAPES[name](value)
    return value


def same(one, other):
    """
    Whether both are equal, without recursion, which `==` needs.
    """
    todo = [(one, other)]
    while todo:
        one, other = todo.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, (list, tuple)):
            if len(one) != len(other):
                return False
            todo += zip(one, other, strict=True)
        elif isinstance(one, dict):
            if len(one) != len(other):
                return False
            todo += zip(one.values(), other.values(), strict=True)
            todo += zip(one, other, strict=True)
        elif isinstance(one, frozenset):
            todo += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


def refused_or_kept(codec, value, read):
    """
    Whether *value* was taken; then it is read back equal.
    """
    try:
        data = codec.encode(new_document("t", "SUCCESS", value))
    except EncodeError as error:
        assert error.path.startswith("result")
        return False
    assert same(value, read(lambda: Codec(accept=KINDS, strict=True).decode("t", data).result))
    return True


def here(call):
    return call()


def deep_in_calls(call, frames=None):
    """
    Call *call* where there are few frames left on the stack.
    """
    if frames is None:
        frames = sys.getrecursionlimit() - len(_frames()) - 90
    return deep_in_calls(call, frames - 1) if frames else call()


def _frames():
    found, frame = [], sys._getframe()
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def in_a_thread(call):
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(call()))
    thread.start()
    thread.join()
    return outcome[0]


READERS = {"here": here, "in a thread": in_a_thread, "deep in calls": deep_in_calls}


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_at_every_depth(shape, kind, read):
    """
    What is taken can be read, wherever the reader is, up to the depth from which it is refused.
    """
    codec = Codec(kind, unsafe_pickle=True, strict=True)
    taken = {
        depth: refused_or_kept(codec, nested([shape] * depth), read)
        for depth in (0, 1, 33, 100, 160, 170, 198, 199, 200, 201, 232, 330, 900)
        # To say where it is too deep takes a look at all that is beside.
        if depth < 202 or "more" not in shape
    }
    depths = sorted(taken, key=lambda depth: (not taken[depth], depth))

    assert sorted(taken) == depths
    if kind == "json" and shape != "key":
        assert [MAX_DEPTH] == [depth for depth in depths if taken[depth]][-1:]


@given(st.lists(st.sampled_from(sorted(SHAPES)), max_size=300), st.sampled_from(KINDS))
def test_every_mixture(names, kind):
    """
    Shapes within others are refused, or read back equal.
    """
    codec = Codec(kind, unsafe_pickle=True, strict=True)

    refused_or_kept(codec, nested(names), deep_in_calls)


@pytest.mark.parametrize("depth", [0, 50, MAX_DEPTH - 2 * MAX_CAUSES - 10, MAX_DEPTH, 900])
@pytest.mark.parametrize("kind", KINDS)
def test_failures_are_always_stored(kind, depth):
    """
    Arguments that are nested too deeply to stand in a failure are kept as their repr.
    """
    results = coatcheck.by_url(
        f"memory://depth-{kind}-{depth}", serializer=kind, unsafe_pickle=True, accept=KINDS
    )
    error = None
    for number in range(2 * MAX_CAUSES):
        above = ValueError(number, nested(["dict"] * depth))
        above.__cause__ = error
        error = ExceptionGroup("g", [above]) if number % 3 else above

    assert results.mark_as_failure("t", error)
    with pytest.raises((ValueError, ExceptionGroup, TaskError)):
        results.AsyncResult("t").get(timeout=10)


def test_what_contains_itself():
    """
    It is deeper than any limit.
    """
    around = []
    around.append(around)
    with pytest.raises(EncodeError, match=r"result.*contains itself.*200 levels"):
        Codec().encode(new_document("t", "SUCCESS", around))
