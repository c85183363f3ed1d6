"""
Keys: read from where they are kept, and shown nowhere.
"""

import copy
import pickle
import traceback

import pytest

import coatcheck
from coatcheck import ConfigurationError, aio
from coatcheck._coding.keys import MIN_BYTES, Keys, is_reference, read

OLD = "old-secret-that-nobody-can-guess-at-all"
NEW = "new-secret-that-nobody-can-guess-at-all"
PAIRS = [("new", NEW), ("old", OLD)]


@pytest.mark.parametrize(
    "given",
    [
        {"new": NEW, "old": OLD.encode()},
        PAIRS,
        [f"new:{NEW}", f"old:{OLD}"],
        f"new:{NEW}, old:{OLD}",
        f"# the newest first\nnew:{NEW}\n\nold:{OLD}\n",
    ],
)
def test_keys_are_given_in_many_ways(given):
    """
    A mapping, pairs and text say the same: the first key writes, and both derive alike.
    """
    keys = read(given)

    assert ["new", "old"] == list(keys)
    assert "new" == keys.first
    assert Keys(PAIRS).derived("old", b"x") == keys.derived("old", b"x")
    assert keys is read(keys)


def test_derived_keys_differ():
    """
    Each key and each purpose has 32 bytes of its own.
    """
    keys = read(PAIRS)
    derived = {keys.derived(name, purpose) for name in keys for purpose in (b"a", b"b")}

    assert 4 == len(derived)
    assert {32} == {*map(len, derived)}


def test_no_keys():
    """
    `None` is no keys.
    """
    assert read(None) is None


def test_keys_stand_elsewhere(monkeypatch, tmp_path):
    """
    Text may say that keys are in an environment variable or in a file.
    """
    path = tmp_path / "keys"
    path.write_text(f"new:{NEW}\nold:{OLD}\n")
    monkeypatch.setenv("THE_KEYS", f"new:{NEW},old:{OLD}")

    assert ["new", "old"] == list(read("env:THE_KEYS")) == list(read(f"file:{path}"))
    assert is_reference("env:THE_KEYS")
    assert not is_reference(f"new:{NEW}")


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "no key is given"),
        ([], "no key is given"),
        (OLD, "written name:secret"),
        (f"a:{OLD} a:{NEW}", "'a' is given twice"),
        ("a:hunter2-short", f"the key 'a' has less than {MIN_BYTES} bytes"),
        ({"a": 5}, "has to be str or bytes"),
        ({"not a name": OLD}, "a key's name has"),
        ({5: OLD}, "a key's name has"),
        ({"x" * 65: OLD}, "a key's name has"),
        ([5], "written name:secret"),
        (5, "give a mapping"),
        (OLD.encode(), "give a mapping"),
        ("env:NOT_SET_ANYWHERE", "variable NOT_SET_ANYWHERE is not set"),
        ("file:/not/there", "the file /not/there cannot be read: No such file"),
    ],
)
def test_what_keys_cannot_be(given, reason):
    """
    A refusal says what is wrong, and shows no secret, not in its traceback either.
    """
    for of in (coatcheck, aio):
        with pytest.raises(ConfigurationError, match=reason) as caught:
            of.by_url("memory://x", signing_keys=given)
        assert "'signing_keys'" in str(caught.value)
        text = "".join(traceback.format_exception(caught.value))
        assert not any(secret in text for secret in (OLD, NEW, "hunter2"))


def test_a_file_that_is_no_text(tmp_path):
    """
    A file of other bytes is refused by its name.
    """
    path = tmp_path / "keys"
    path.write_bytes(b"\xff\xfe")

    with pytest.raises(ValueError, match="keys cannot be read: UnicodeDecodeError"):
        read(f"file:{path}")


def test_keys_are_not_shown():
    """
    Neither `repr` nor `str` has a secret, and no copy by pickle is made.
    """
    keys = read(PAIRS)

    assert "<Keys new, old>" == repr(keys) == str(keys)
    for copied in (pickle.dumps, copy.copy):
        with pytest.raises(TypeError, match="by its environment"):
            copied(keys)


@pytest.mark.parametrize("option", ["signing_keys", "encryption_keys"])
def test_keys_do_not_stand_in_urls_and_files(option, tmp_path):
    """
    In a URL and in a configuration only the place of keys may stand, for those are copied.
    """
    path = tmp_path / "keys"
    path.write_text(f"new:{NEW}")
    config = {"backends": {"default": {"url": "memory://x", option: f"new:{NEW}"}}}

    coatcheck.by_url(f"memory://x?{option}=file:{path}")
    with pytest.raises(ConfigurationError, match="keys do not belong there") as in_url:
        coatcheck.by_url(f"memory://x?{option}=new:{NEW}")
    with pytest.raises(ConfigurationError, match="keys do not belong there") as in_config:
        coatcheck.by_name(config=config)
    config["backends"]["default"][option] = f"file:{path}"
    coatcheck.by_name(config=config)

    assert NEW not in f"{in_url.value} {in_config.value}"
    assert "backends.default" in str(in_config.value)


def test_keys_of_the_environment(monkeypatch):
    """
    The variable of the option holds the keys themselves.
    """
    monkeypatch.setenv("COATCHECK_SIGNING_KEYS", f"new:{NEW}")
    results = coatcheck.by_url("memory://keys-of-environment")
    results.store_result("t", 1)

    assert results.backend.get_many(["t"])["t"].version.startswith(b"\xc1COAT")
    assert NEW not in repr(results)
