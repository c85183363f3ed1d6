"""
No decoder does more than to decode, or raises what is not ours, whatever it is given.

`nox -s fuzz` does the same with a fuzzer that is guided by coverage, for as long as one likes.
"""

import random
import resource
import sys

import bson
import pytest
from bson.code import Code
from fuzz.targets import TARGETS, seeds
from fuzz.watched import Forbidden, watched
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SEEDS = list(seeds())
TARGET = pytest.mark.parametrize("name", TARGETS)


@st.composite
def mutated(draw):
    """
    Seeds that were cut, joined, and had bytes changed or repeated.
    """
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0:
                data[at:at] = draw(st.binary(max_size=8))
            case 1:
                del data[at : at + draw(st.integers(1, 16))]
            case 2:
                data[at : at + 1] = bytes([draw(st.integers(0, 255))])
            case _:
                data[at:at] = draw(st.sampled_from(SEEDS))[:200] * draw(st.integers(1, 3))
    return bytes(data)


@pytest.fixture(scope="module", autouse=True)
def _warm():
    """
    Import what decoders import when they are first used.
    """
    _use_all()


def _use_all():
    for target in TARGETS.values():
        for seed in SEEDS:
            target(seed)


@TARGET
def test_what_was_seen_before(name):
    """
    What Celery and coatcheck have stored is decoded, and nothing else happens.
    """
    for seed in SEEDS:
        with watched():
            TARGETS[name](seed)


#: What the guided fuzzer found, by its target.
FOUND = {
    # A status that is JavaScript's: text which cannot be hashed.
    "mongo": bson.encode({"_id": "t", "status": Code("FAILURE"), "result": {"exc_type": "E"}}),
    # A pickle that has room made for 67 million things.
    "sql": b"\x80\x04)r\xff\xff\xff\x03.",
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found(name):
    """
    What once went wrong does not any more.
    """
    before = _peak()
    with watched():
        TARGETS[name](FOUND[name])

    assert _peak() - before < 256 * 1024 * 1024


@TARGET
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.one_of(mutated(), st.binary(max_size=200)))
def test_anything(name, data):
    """
    Any bytes are decoded or refused; nothing is imported, opened or called on the way.
    """
    with watched():
        TARGETS[name](data)


@TARGET
@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"status": "SUCCESS", "result": ' + b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"status": "FAILURE", "failure": ' + b'{"cause": ' * 50_000,
        b"\x91" * 100_000,
        b"\x81\xa6status\xa7SUCCESS" + b"\x91" * 2000,
        b"\xdf\xff\xff\xff\xff",
        b"\x81\xa6status\xdb\xff\xff\xff\xff",
        b"\x81\xa6status\xc6\xff\xff\xff\xff",
        b"\xc1COAT\x01\x07SUCCESS\xff\xff\xff\xff",
        b"\x80\x04" + b"(" * 100_000 + b".",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\x80\x04)p99999999999\n.",
        b"\x80\x04\x96\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".",
        b"[" + b"9" * 5000 + b"]",
        b"redis://" + b"@" * 50_000,
        b"a" * 100_000 + b"://" + b"%" * 50_000,
        b"?" * 100_000,
    ],
    ids=lambda data: repr(data[:20]),
)
def test_depth_and_length(name, data):
    """
    What is nested too deep, or says that it is very long, is refused with little memory.
    """
    before = _peak()
    with watched():
        TARGETS[name](data)

    assert _peak() - before < 256 * 1024 * 1024


def _peak():
    """
    Return the most memory that this process had so far, in bytes.
    """
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def test_the_watch_notices(tmp_path):
    """
    An import, a file and a class of a pickle are noticed, also where the error is swallowed.
    """

    def swallow(call):
        try:
            call()
        except BaseException:
            return

    def unpickle():
        import pickle

        pickle.loads(b"cos\ngetpid\n.")

    module = f"no_such_module_{random.randrange(10**9)}"
    unpickle()
    for call in (lambda: __import__(module), lambda: open(tmp_path / "x"), unpickle):  # noqa: SIM115
        with pytest.raises(Forbidden), watched():
            swallow(call)
