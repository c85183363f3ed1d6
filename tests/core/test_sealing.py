"""
Sealed records: compressed, signed, encrypted; and whatever somebody else makes of them.
"""

import json
import pickle
import sys
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck import by_url
from coatcheck._coding import envelope, keys, sealing
from coatcheck._coding.codec import Codec
from coatcheck._coding.compression import MARKER
from coatcheck.errors import (
    ConfigurationError,
    ContentDisallowed,
    DecodeError,
    EncodeError,
    PluginError,
    SignatureError,
    WaitTimeoutError,
)
from coatcheck.testing import samples

ONE = keys.read({"one": "1" * 32})
TWO = keys.read({"two": "2" * 32})
BOTH = keys.read({"two": "2" * 32, "one": "1" * 32})
#: A key of another secret, under the same name.
FALSE = keys.read({"one": "x" * 32})
LONG = ["some text"] * 500
SIGNED = {"signing_keys": ONE}
ENCRYPTED = {"encryption_keys": ONE}
KEYED = pytest.mark.parametrize("options", [SIGNED, ENCRYPTED], ids=["signed", "encrypted"])
ANY = pytest.mark.parametrize(
    "options",
    [
        {"compression": "zlib"},
        {"compression": "zstd"},
        SIGNED,
        ENCRYPTED,
        {**SIGNED, **ENCRYPTED, "compression": "zstd"},
        {**SIGNED, "serializer": "msgpack"},
        {**ENCRYPTED, "serializer": "pickle", "accept": ["pickle"]},
    ],
    ids=["zlib", "zstd", "signed", "encrypted", "all", "msgpack", "pickle"],
)


def document(result=LONG, status="SUCCESS", task_id="t"):
    return {"status": status, "result": result, "task_id": task_id, "v": 1}


@ANY
def test_sealed_records_come_back(options):
    """
    A record is what it was; its state stands in the first bytes.
    """
    codec = Codec(**options)
    data = codec.encode(document())
    meta = codec.decode("t", data)

    assert data.startswith(envelope.MAGIC)
    assert "SUCCESS" == codec.state_of(data) == codec.state_of(data[:128]) == meta.status
    assert LONG == meta.result
    assert meta.error is None
    assert "t" == codec.id_of(data)


@pytest.mark.parametrize("name", ["zlib", "zstd"])
def test_compression_has_a_threshold(name):
    """
    What has no more bytes than the threshold is stored as it is, like what becomes no shorter.
    """
    plain = Codec().encode(document())
    packed = Codec(compression=name).encode(document())

    assert len(packed) < len(plain) / 10
    assert plain == Codec(compression=name, compress_over=len(plain)).encode(document())
    assert packed == Codec(compression=name, compress_over=len(plain) - 1).encode(document())
    noise = document("".join(map(chr, range(32, 127))))
    assert Codec().encode(noise) == Codec(compression=name, compress_over=0).encode(noise)


def test_readers_need_no_settings():
    """
    What is compressed or signed is read by a codec without any option; what is encrypted shows its
    state, and says which key it takes.
    """
    for options in ({"compression": "zlib"}, {"compression": "zstd"}, SIGNED):
        assert LONG == Codec().decode("t", Codec(**options).encode(document())).result

    meta = Codec().decode("t", Codec(**ENCRYPTED).encode(document()))

    assert "SUCCESS" == meta.status
    with pytest.raises(DecodeError, match=r"encrypted with the key 'one'.*encryption_keys="):
        _ = meta.result


def test_celerys_marker():
    """
    `compression="celery"` is Celery's own form, of records and of values that stand alone.
    """
    codec = Codec(compression="celery", compress_over=100)
    data = codec.encode(document())
    value = codec.encode_value("result", LONG)

    start = MARKER + b"application/x-gzip\x00"
    assert document() == json.loads(zlib.decompress(data.removeprefix(start)))
    assert LONG == json.loads(zlib.decompress(value.removeprefix(start)))
    assert "[1]" == codec.encode_value("result", [1])
    assert LONG == Codec().decode("t", data).result == Codec().decode_value("t", value)
    assert codec.sealed(document()) is None


def test_what_cannot_be_combined():
    """
    Options that make no sense say so where they are given.
    """
    with pytest.raises(ConfigurationError, match="there is no compression 'lz4': use zstd, zlib"):
        Codec(compression="lz4")
    for options in (SIGNED, ENCRYPTED):
        with pytest.raises(ConfigurationError, match="for Celery to read"):
            Codec(compression="celery", **options)


@pytest.mark.parametrize(
    ("options", "modules", "install"),
    [
        ({"compression": "zstd"}, ["backports.zstd", "compression.zstd"], "backports.zstd"),
        (ENCRYPTED, ["cryptography.hazmat.primitives.ciphers.aead"], r"coatcheck\[encryption\]"),
    ],
)
def test_a_missing_package(monkeypatch, options, modules, install):
    """
    A package that an option needs is asked for when the option is given, not at the first store.
    """
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(PluginError, match=f"pip install '?{install}"):
        Codec(**options)


@KEYED
def test_keys_rotate(options):
    """
    The first key writes and all of them read; one that was taken out reads no more.
    """
    (option,) = options
    old, new = Codec(**options), Codec(**{option: BOTH})
    written_by_old, written_by_new = old.encode(document()), new.encode(document())

    assert "two" == envelope.parse(written_by_new).key
    assert LONG == new.decode("t", written_by_old).result
    assert LONG == new.decode("t", written_by_new).result
    with pytest.raises(SignatureError, match=rf"with the key 'two', and .*{option}= has one"):
        _ = old.decode("t", written_by_new).result
    with pytest.raises(SignatureError, match=r"with the key 'one'.* has two"):
        _ = Codec(**{option: TWO}).decode("t", written_by_old).result


@KEYED
def test_signed_to_encrypted(options):
    """
    Who has keys of both kinds encrypts, and reads either.
    """
    both = Codec(signing_keys=ONE, encryption_keys=TWO)
    data = both.encode(document())

    assert sealing.ENCRYPTED == envelope.parse(data).seal
    assert LONG == both.decode("t", Codec(signing_keys=ONE).encode(document())).result
    with pytest.raises(SignatureError):
        _ = Codec(**options).decode("t", data).result


@KEYED
def test_the_key_is_another_one(options):
    """
    The same name with another secret does not do.
    """
    (option,) = options
    meta = Codec(**{option: FALSE}).decode("t", Codec(**options).encode(document()))

    assert "PENDING" == meta.status
    with pytest.raises(SignatureError, match=r"what is stored|was encrypted"):
        _ = meta.result


@KEYED
def test_every_flipped_bit_is_noticed(options):
    """
    Whatever bit is flipped, neither state nor value is believed.
    """
    codec = Codec(**options, compression="zlib", compress_over=0)
    data = codec.encode(document("some text " * 3))

    for at in range(len(data)):
        for bit in range(8):
            forged = bytearray(data)
            forged[at] ^= 1 << bit
            meta = codec.decode("t", bytes(forged))
            assert "PENDING" == meta.status
            assert isinstance(meta.error, SignatureError)


@KEYED
def test_every_cut_is_noticed(options):
    """
    A record that is cut off, or goes on, is not believed.
    """
    codec = Codec(**options)
    data = codec.encode(document("text"))

    for forged in [*(data[:end] for end in range(len(data))), data + b"\x00"]:
        meta = codec.decode("t", forged)
        assert "PENDING" == meta.status
        assert isinstance(meta.error, SignatureError)


def test_every_flipped_bit_of_a_compressed_record_is_noticed():
    """
    Without keys the checksum shows damage: the value raises, and the id and state are its own.
    """
    codec = Codec(compression="zlib")
    data = codec.encode(document())

    for at in range(len(data)):
        forged = bytearray(data)
        forged[at] ^= 1
        assert isinstance(codec.decode("t", bytes(forged)).error, DecodeError)


@ANY
def test_records_cannot_be_moved(options):
    """
    A record under another task's id is not that task's.
    """
    codec = Codec(**options)
    meta = codec.decode("other", codec.encode(document()))

    assert isinstance(meta.error, (SignatureError, DecodeError))
    assert "made for task 't'" in str(meta.error)
    if "compression" not in options or "signing_keys" in options:
        assert "PENDING" == meta.status


@KEYED
def test_parts_of_two_records_cannot_be_joined(options):
    """
    The head of one record does not fit the body of another: not its state, not its id.
    """
    codec = Codec(**options)
    mine = envelope.parse(codec.encode(document("mine", "STARTED")))
    others = [document("mine", "SUCCESS"), document("theirs", "STARTED", "other")]

    for other in map(envelope.parse, map(codec.encode, others)):
        for forged in (mine.head + other.body, other.head + mine.body):
            for id_ in ("t", "other"):
                meta = codec.decode(id_, forged)
                assert "PENDING" == meta.status
                assert isinstance(meta.error, SignatureError)


@KEYED
@pytest.mark.parametrize(
    "forged",
    [
        Codec().encode(document("forged")),
        Codec("msgpack").encode(document("forged")),
        Codec("pickle", unsafe_pickle=True).encode(document("forged")),
        Codec(compression="zlib").encode(document()),
        Codec(compression="celery").encode(document()),
        b"noise",
        b"",
    ],
    ids=["json", "msgpack", "pickle", "compressed", "celerys", "noise", "empty"],
)
def test_unsigned_records_are_refused(options, forged):
    """
    Who has keys believes neither state nor value of what has none; the error tells the way out.
    """
    codec = Codec(**options, accept=["json", "msgpack", "pickle"])
    meta = codec.decode("t", forged)

    assert ("PENDING", True) == (meta.status, meta.known)
    with pytest.raises(SignatureError, match="accept_unsigned=True"):
        _ = meta.result
    with pytest.raises(SignatureError):
        codec.decode_group("t", forged)
    with pytest.raises(SignatureError):
        codec.decode_value("t", forged)


@KEYED
def test_the_kind_of_seal_cannot_be_lowered(options):
    """
    A signed record whose head says "checksum" is refused; so is an encrypted one that says signed.
    """
    codec = Codec(**options)
    found = envelope.parse(codec.encode(document()))
    names = {"serializer": "json", "compression": "", "key": "one"}
    for seal in (sealing.CHECKSUM, sealing.SIGNED, sealing.ENCRYPTED, "none", ""):
        if seal == found.seal:
            continue
        head = envelope.head_of("SUCCESS", "t", **names, seal=seal)
        for body in (found.body, sealing._checksum(head, b"{}") + b"{}", b"{}"):
            assert isinstance(codec.decode("t", head + body).error, SignatureError)


@KEYED
def test_unsigned_records_while_keys_are_brought_in(options):
    """
    With `accept_unsigned` older records are read; what is signed has to be signed right.
    """
    codec = Codec(**options, accept_unsigned=True)
    (option,) = options
    forged = Codec(**{option: FALSE}).encode(document())

    assert LONG == codec.decode("t", Codec().encode(document())).result
    assert LONG == codec.decode("t", codec.encode(document())).result
    assert isinstance(codec.decode("t", forged).error, SignatureError)


def test_unsigned_pickles_are_not_run():
    """
    Who signs pickles and also reads what is unsigned does not run the pickles of others.
    """
    pickled = Codec("pickle", unsafe_pickle=True).encode(document())
    options = {"accept": ["pickle", "json"], "accept_unsigned": True, **SIGNED}

    with pytest.raises(SignatureError, match="unsigned pickle: give unsafe_pickle=True"):
        _ = Codec(**options).decode("t", pickled).result
    assert LONG == Codec(**options, unsafe_pickle=True).decode("t", pickled).result
    assert LONG == Codec(**options).decode("t", Codec("pickle", **SIGNED).encode(document())).result


def test_signed_pickles_are_still_asked_for():
    """
    A signature does not stand for `accept`: what is refused shows its state, which is authentic.
    """
    meta = Codec(**SIGNED).decode("t", Codec("pickle", **SIGNED).encode(document()))

    assert "SUCCESS" == meta.status
    with pytest.raises(ContentDisallowed, match="accept="):
        _ = meta.result


def test_pickle_is_written_signed_or_on_demand():
    """
    Pickle without keys has to be asked for by name.
    """
    with pytest.raises(ConfigurationError, match=r"signing_keys=, or give unsafe_pickle=True"):
        Codec("pickle", compression="zlib")
    assert Codec("pickle", **ENCRYPTED).encode(document())


@KEYED
def test_groups_are_sealed(options):
    """
    A group comes back; a record is no group, nor is a group a record, or another group.
    """
    codec = Codec(**options)
    tree = [["g", None], [[["a", None], None], [["b", None], None]]]
    data = codec.encode_group("g", tree)

    assert ["a", "b"] == codec.decode_group("g", data)
    assert tree == codec.decode_group_tree("g", data)
    assert data[:40].startswith(envelope.MAGIC)
    with pytest.raises(SignatureError, match="made for task 'g'"):
        codec.decode_group("other", data)
    with pytest.raises(DecodeError, match="not that of a group"):
        codec.decode_group("t", codec.encode(document(["a"])))
    meta = codec.decode("g", data)
    assert not meta.ready
    assert isinstance(meta.error, DecodeError)


@KEYED
def test_nothing_can_be_read_of_an_encrypted_record(options):
    """
    Encrypted bytes hold nothing of the value, and are other ones each time.
    """
    codec = Codec(**options)
    one, other = codec.encode(document("hunter2")), codec.encode(document("hunter2"))

    encrypted = options is ENCRYPTED
    assert encrypted is (b"hunter2" not in one)
    assert encrypted is (one != other)


def test_the_record_within_says_the_same_as_the_envelope():
    """
    An envelope around the record of another state is a `DecodeError`, whoever made it.
    """
    codec = Codec(**SIGNED)
    data = codec._sealer.seal("STARTED", "t", "json", Codec().encode(document()))

    meta = codec.decode("t", data)

    assert not meta.ready
    with pytest.raises(DecodeError, match="envelope says that the state is 'STARTED'"):
        _ = meta.result


@pytest.mark.parametrize("name", ["zlib", "zstd"])
def test_what_inflates_too_far_is_refused(name):
    """
    A compressed body is opened up to the limit, and no further.
    """
    data = Codec(compression=name).encode(document("x" * 100_000))

    meta = Codec(max_inflated=50_000).decode("t", data)

    assert "SUCCESS" == meta.status
    with pytest.raises(DecodeError, match=r"inflates to more than 50000 bytes.*max_inflated="):
        _ = meta.result


def test_a_compression_of_the_future():
    """
    An unknown compression, serializer or seal is named, and the state can be read.
    """
    for changed, reason in (
        ({"compression": "lz4"}, "compressed as 'lz4'"),
        ({"serializer": "toml"}, "toml"),
        ({"seal": "blake3"}, "sealed by 'blake3'"),
    ):
        names = {"serializer": "json", "compression": "", "seal": sealing.CHECKSUM, "key": ""}
        head = envelope.head_of("SUCCESS", "t", **{**names, **changed})
        meta = Codec().decode("t", head + sealing._checksum(head, b"{}") + b"{}")
        assert "SUCCESS" == meta.status
        assert reason in str(meta.error)


def test_states_that_are_too_long():
    """
    A state of more than 255 bytes cannot be sealed; one that the first bytes do not hold is found.
    """
    codec = Codec(**SIGNED)
    data = codec.encode(document(status="X" * 200))

    assert codec._readers.peek(data[:128]) is None
    assert "X" * 200 == codec.state_of(data) == codec.decode("t", data).status
    with pytest.raises(EncodeError, match="no room for the name"):
        codec.encode(document(status="X" * 300))


@KEYED
@given(value=st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_value(options, value):
    """
    A value is the same sealed and unsealed.
    """
    codec = Codec(**options)

    assert value == codec.decode("t", codec.encode(document(value))).result


@KEYED
def test_fields_around_an_envelope_are_of_no_account(options):
    """
    A store of fields has the record in its envelope; what stands beside is not believed.
    """
    codec = Codec(**options)
    started = document("hunter2", "STARTED")
    fields = {"status": "SUCCESS", "result": codec.sealed(started), "traceback": "forged"}

    meta = codec.decode_fields("t", dict(fields), ["result"], version=5)
    moved = codec.decode_fields("other", dict(fields), ["result"])
    plain = codec.decode_fields("t", {"status": "SUCCESS", "result": "1"}, ["result"])

    assert ("STARTED", "hunter2", None, 5) == (
        meta.status, meta.result, meta.traceback, meta.version
    )  # fmt: skip
    for forged in (moved, plain):
        assert "PENDING" == forged.status
        assert isinstance(forged.error, SignatureError)


def test_fields_around_an_envelope_without_a_key():
    """
    Without keys the status beside what is encrypted can be read.
    """
    sealed = Codec(**ENCRYPTED).sealed(document())
    for data in (sealed, sealed[:6]):
        meta = Codec().decode_fields("t", {"status": "SUCCESS", "result": data}, ["result"])
        assert "SUCCESS" == meta.status
        assert isinstance(meta.error, DecodeError)


def test_waits_do_not_believe_what_is_forged():
    """
    A wait takes a forged record for not ready, and says why when it times out.
    """
    signed = by_url("memory://forged", signing_keys={"one": "1" * 32})
    plain = by_url("memory://forged")
    plain.store_result("t", "forged")

    with pytest.raises(WaitTimeoutError, match="accept_unsigned=True") as caught:
        signed.wait_for("t", 0.05)

    assert isinstance(caught.value.last_error, SignatureError)


def test_pickles_are_loaded_by_nobody_else():
    """
    A pickle under a signature of another key is not loaded, whatever the reader accepts.
    """
    samples.MARKS.clear()
    names = {"serializer": "pickle", "compression": "", "seal": sealing.SIGNED, "key": "one"}
    head, body = envelope.head_of("SUCCESS", "t", **names), samples.BOMB.record
    codec = Codec("pickle", accept=["pickle"], **SIGNED)

    assert isinstance(codec.decode("t", head + b"\x00" * 32 + body).error, SignatureError)
    assert [] == samples.MARKS
    pickle.loads(body)
    assert ["called"] == samples.MARKS
