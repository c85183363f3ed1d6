"""
The envelope: its parts come back, its state can be seen, and nothing else is one.
"""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coatcheck._coding import envelope

NAMES = st.text(max_size=60)
PARTS = {"serializer": "json", "compression": "zstd", "seal": "crc32", "key": "k"}


@given(NAMES, st.text(max_size=300), NAMES, NAMES, NAMES, NAMES, st.binary(max_size=50))
def test_envelopes_come_back(state, task_id, serializer, compression, seal, key, body):
    """
    What is put together is taken apart the same, and shows its state.
    """
    names = {"serializer": serializer, "compression": compression, "seal": seal, "key": key}
    head = envelope.head_of(state, task_id, **names)
    found = envelope.parse(head + body)

    assert (state, task_id, *names.values(), head, body) == found
    assert state == envelope.peek(head + body) == envelope.peek(head)


def test_the_bytes_of_an_envelope():
    """
    The layout is that of the page on records.
    """
    expected = b"\xc1COAT\x01\x07SUCCESS\x00\x00\x00\x01t\x04json\x04zstd\x05crc32\x01k"

    assert expected == envelope.head_of("SUCCESS", "t", **PARTS)


@pytest.mark.parametrize("field", ["state", *PARTS])
def test_names_that_are_too_long(field):
    """
    A name of more than 255 bytes is refused; ids may be longer.
    """
    given_ = {"state": "SUCCESS", "task_id": "x" * 5000, **PARTS}
    envelope.head_of(**given_)

    with pytest.raises(ValueError, match="no room for the name 'xxx"):
        envelope.head_of(**{**given_, field: "x" * 256})


def test_every_cut_is_noticed():
    """
    A head that is cut off anywhere is refused; the state shows once all of it is there.
    """
    head = envelope.head_of("STARTED", "some-id", **PARTS)

    for end in range(len(head)):
        with pytest.raises(ValueError, match=r"cut off|0 bytes"):
            envelope.parse(head[:end])
        assert ("STARTED" if end >= 14 else None) == envelope.peek(head[:end])


def test_a_newer_version():
    """
    The envelope of a later version is not opened, but its state can be seen.
    """
    head = bytearray(envelope.head_of("SUCCESS", "t", **PARTS))
    head[5] = 2

    with pytest.raises(ValueError, match=r"has version 2, this coatcheck opens 1: upgrade"):
        envelope.parse(bytes(head))
    assert "SUCCESS" == envelope.peek(bytes(head))


@given(st.binary(max_size=100))
@example(b"\x01\xff\xff")
@example(b"\x01\x01\xff\x00\x00\x00\x00")
@example(b"\x01\x00\xff\xff\xff\xff")
def test_any_bytes(rest):
    """
    Whatever follows the magic, there is an answer or a `ValueError`.
    """
    data = envelope.MAGIC + rest
    state = envelope.peek(data)

    assert state is None or isinstance(state, str)
    try:
        envelope.parse(data)
    except ValueError:
        return
    assert state is not None
