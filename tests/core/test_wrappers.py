"""
Wrappers pass on all of the protocol that they do not do otherwise.
"""

from __future__ import annotations

import asyncio
import inspect

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._backends import asyncio_bridge, asyncio_records, bridge, records
from coatcheck._results import asyncio_observed, observed
from coatcheck.plugin import Backend, ResultMeta, Wrapper
from coatcheck.testing.doubles import Wrapping

#: What is computed or declared, and not done.
ATTRIBUTES = ["capabilities", "keeps_others", "max_value_bytes", "polling", "spread", "trouble"]
WRAPPERS = [
    records.Records, asyncio_records.Records, bridge.ThreadedBackend,
    observed.ObservedBackend, asyncio_observed.ObservedBackend, Wrapping,
]  # fmt: skip
BELLS = [
    records.PrefixedBell, asyncio_records.PrefixedBell, bridge.ThreadedBell, asyncio_bridge.LoopBell,
]  # fmt: skip


class Loud(coatcheck.KeyValueBackend):
    """A backend of which nothing is as by default."""

    PROTOCOL_VERSION = 1
    capabilities = coatcheck.Capability.SCAN
    keeps_others = True
    max_value_bytes = 7
    spread = True

    trouble = property(lambda _: OSError("trouble"))
    polling = property(lambda _: OSError("polling"))

    def put(self, key, value, *, unless, if_match=None, expires):
        return True

    def get_many(self, keys):
        return {}

    def delete_many(self, keys):
        return 0


class Watching:
    """A plugin with one hook."""

    @coatcheck.hookimpl
    def stored(self, meta):
        """Do nothing."""


def seen(results):
    """Return what is computed, as text."""
    return str(results.trouble), str(results.polling), results.capabilities


@pytest.mark.parametrize("plugins", [[], [Watching()]], ids=["plain", "watched"])
def test_what_a_backend_computes_is_seen(plugins):
    """`Results` shows it, whether or not somebody watches, on both sides."""
    expected = ("trouble", "polling", coatcheck.Capability.SCAN)

    async def aio():
        async with coatcheck.aio.Results(Loud(), plugins=plugins) as results:
            return seen(results)

    with coatcheck.Results(Loud(), plugins=plugins) as results:
        assert seen(results) == expected
    assert asyncio.run(aio()) == expected


@pytest.mark.parametrize("wrapper", WRAPPERS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_passed_on(wrapper, name):
    """Every wrapper shows those of the object that it holds, not the defaults of its base class."""
    held = "wrapped" if wrapper is Wrapping else "backend"
    made = wrapper.__new__(wrapper)
    setattr(made, held, inner := Loud())

    assert repr(getattr(made, name)) == repr(getattr(inner, name))


@pytest.mark.parametrize("wrapper", BELLS, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_bells_are_passed_on(wrapper):
    """So do those of bells."""

    class Odd(coatcheck.Bell):
        pushing = True
        lag = 0.5
        unready = False

    made = wrapper.__new__(wrapper)
    made._bell = Odd()

    assert (made.pushing, made.lag, made.unready) == (True, 0.5, False)


@pytest.mark.parametrize(
    "bridge", [bridge.ThreadedBackend, asyncio_bridge.LoopBackend], ids=lambda cls: cls.__name__
)
def test_bridges_do_all_that_is_done(bridge):
    """
    No method of the protocol is passed on as it is to a backend of the other side, but for the one that
    is the same on both.
    """
    methods = {
        name
        for name, member in inspect.getmembers(coatcheck.Backend, inspect.isfunction)
        if not name.startswith("_") and name != "checkup"
    }

    assert "find" in methods
    assert [] == [n for n in methods if isinstance(inspect.getattr_static(bridge, n), property)]


def test_a_wrapper_of_an_author():
    """What the subclass defines is its own; all the rest is that of the other object."""

    class Counting(Wrapper, Backend[ResultMeta], to="inner"):
        def __init__(self, inner):
            self.inner = inner
            self.reads = 0

        def get_many(self, keys):
            self.reads += 1
            return self.inner.get_many(keys)

    counting = Counting(Loud())

    assert counting.get_many(["a"]) == {}
    assert counting.reads == 1
    assert counting.put("a", b"", unless=frozenset(), expires=None) is True
    counting.codec = codec = coatcheck.plugin.Codec()
    assert counting.inner.codec is codec
    assert [] == [name for name in vars(Counting) if name in ("from_url", "PROTOCOL_VERSION")]
