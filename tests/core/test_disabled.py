"""
`disabled://`: writes are dropped, reads raise.
"""

import pytest

import coatcheck
from coatcheck._backends.backend import ANY, Capability
from coatcheck._embedded.disabled import DisabledBackend
from coatcheck._settings.url import URL
from coatcheck.errors import ConfigurationError, UnsupportedError


def test_writes_are_dropped():
    """
    Every write succeeds and none is kept.
    """
    backend = DisabledBackend.from_url(URL("disabled://"))

    assert backend.put("k", b"x", unless=ANY, expires=None) is True
    assert backend.put("k", b"x", unless=ANY, if_match=b"y", expires=1) is True
    assert [True] == backend.put_many([("k", b"x")], unless=ANY, expires=None)
    assert (0, 0) == (backend.delete_many(["k"]), backend.purge())
    backend.close()


def test_reads_say_why():
    """
    A read raises with the way out.
    """
    with pytest.raises(UnsupportedError, match=r"results are disabled .* choose a backend"):
        DisabledBackend().get_many(["k"])
    with pytest.raises(UnsupportedError, match=r"does not support scan\(\)"):
        DisabledBackend().scan()


def test_waits_say_why():
    """
    Whoever waits is told at once, whatever the timeout.
    """
    with coatcheck.by_url("disabled://") as results:
        assert results.store_result("t", 1) is True
        with pytest.raises(UnsupportedError, match="results are disabled"):
            results.AsyncResult("t").get(timeout=60)
        with pytest.raises(UnsupportedError, match="results are disabled"):
            _ = results.AsyncResult("t").state


def test_options_do_not_exist():
    """
    There is nothing to set.
    """
    with pytest.raises(ConfigurationError, match="disabled:// has no option 'size'"):
        DisabledBackend.from_url(URL("disabled://?size=5"))


def test_capabilities():
    """
    It can do nothing.
    """
    assert Capability.NONE == DisabledBackend.capabilities
