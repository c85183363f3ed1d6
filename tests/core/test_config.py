"""
Options: what belongs to the results, to the backend, and where the URL comes from.
"""

import pytest

from coatcheck._settings.config import URL_VARIABLE, resolve_url, split_options
from coatcheck._settings.url import URL
from coatcheck.errors import ConfigurationError


def test_a_given_url_is_taken(monkeypatch):
    """
    The argument goes over the environment.
    """
    monkeypatch.setenv(URL_VARIABLE, "memory://other")

    assert "memory://mine" == resolve_url("memory://mine").raw


def test_the_environment_names_the_default(monkeypatch):
    """
    Without an argument the URL comes from the environment.
    """
    monkeypatch.setenv("COATCHECK_URL", "memory://other")

    assert "memory://other" == resolve_url(None).raw


@pytest.mark.parametrize("value", [None, ""])
def test_no_url_at_all(monkeypatch, value):
    """
    Where neither says anything, the error names both ways.
    """
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(URL_VARIABLE, value)

    with pytest.raises(ConfigurationError, match=r"give by_url\(\) a URL, or set COATCHECK_URL"):
        resolve_url(None)


@pytest.mark.parametrize("url", [5, b"redis://:secret@h", ["redis://:secret@h"]])
def test_a_url_is_text(url):
    """
    Another type is refused by its name, not by its value.
    """
    with pytest.raises(ConfigurationError, match=f"a URL is a str, not {type(url).__name__}$"):
        resolve_url(url)


def test_options_are_told_apart():
    """
    Options of results are read and told from the backend's own; keyword
    arguments go over the query, and the query keeps what is the backend's.
    """
    url = URL("a://h?expires=60&strict=1&operation_timeout=2&db=3&accept=json,pickle")

    mine, rest = split_options(url, {"expires": None, "pool": 5})

    expected = {"expires": None, "strict": True, "accept": ("json", "pickle")}
    assert {**expected, "operation_timeout": 2.0} == mine
    assert {"pool": 5} == rest
    assert {"db": "3"} == url.query


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("expires", "0", "positive number of seconds"),
        ("expires", "hunter2", "positive number of seconds"),
        ("strict", "hunter2", "use 1 or 0"),
        ("serializer", "", "must not be empty"),
        ("accept", 5, "not iterable"),
        ("operation_timeout", -1, "positive"),
        ("compress_over", "hunter2", "whole number of bytes"),
        ("compress_over", -1, "whole number of bytes"),
        ("compress_over", True, "whole number of bytes"),
        ("compression", "", "must not be empty"),
        ("accept_unsigned", "hunter2", "use 1 or 0"),
        ("safety_look", "nan", "positive"),
        ("read_only", "hunter2", "use 1 or 0"),
    ],
)
def test_wrong_values_name_the_option(name, value, reason):
    """
    A value that cannot be is an error with the option, the scheme and the reason only.
    """
    with pytest.raises(ConfigurationError, match=rf"the option '{name}' of a://: .*{reason}") as e:
        split_options(URL("a://h"), {name: value})

    assert "hunter2" not in str(e.value)


def test_classes_can_be_trusted_by_keyword():
    """
    What no URL can say can be given by name.
    """
    mine, _ = split_options(
        URL("a://h"), {"trusted_exceptions": [ValueError], "protect": "SUCCESS", "key_prefix": "x"}
    )

    assert {"trusted_exceptions": (ValueError,), "protect": ("SUCCESS",), "key_prefix": "x"} == mine
