"""
The sync side and the asyncio side are one interface.
"""

from __future__ import annotations

import inspect

import pytest

import coatcheck
import coatcheck._results.asyncio_running
import coatcheck._results.running
import coatcheck._waiting.asyncio_hub
import coatcheck._waiting.hub
import coatcheck.aio

PAIRS = [
    (coatcheck.Results, coatcheck.aio.Results),
    (coatcheck.AsyncResult, coatcheck.aio.AsyncResult),
    (coatcheck.ResultSet, coatcheck.aio.ResultSet),
    (coatcheck.Backend, coatcheck.aio.Backend),
    (coatcheck.KeyValueBackend, coatcheck.aio.KeyValueBackend),
    (coatcheck.Bell, coatcheck.aio.Bell),
    (coatcheck.Claim, coatcheck.aio.Claim),
    (coatcheck._results.running.RunningTask, coatcheck._results.asyncio_running.RunningTask),
]
FUNCTIONS = ["by_name", "by_url", "from_celery_config", "register", "registered", "unregister"]
NAMES = [pytest.param(*pair, id=pair[0].__name__) for pair in PAIRS]


def public(cls: type) -> set[str]:
    """Return the names that users of *cls* may use."""
    return {name for name in dir(cls) if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "aio"), NAMES)
def test_names(sync, aio):
    """Both sides have the same names."""
    assert public(sync) - {"after_fork"} == public(aio)


@pytest.mark.parametrize(("sync", "aio"), NAMES)
def test_signatures(sync, aio):
    """Both sides take the same arguments, with the same defaults."""
    for name in sorted(public(sync) & public(aio)):
        ours, theirs = getattr(sync, name), getattr(aio, name)
        if not inspect.isfunction(ours) or not inspect.isfunction(theirs):
            continue
        if name == "task":  # only in asyncio it needs no executor
            continue
        mine = [(p.name, p.kind, p.default) for p in inspect.signature(ours).parameters.values()]
        other = [(p.name, p.kind, p.default) for p in inspect.signature(theirs).parameters.values()]
        assert mine == other, name


@pytest.mark.parametrize(("sync", "aio"), NAMES)
def test_properties_that_read_are_coroutines(sync, aio):
    """A property that does I/O is a coroutine method; one that does not is the same on both."""
    for name in sorted(public(sync) & public(aio)):
        ours, theirs = getattr(sync, name), getattr(aio, name)
        if isinstance(ours, property) and not isinstance(theirs, property):
            assert inspect.iscoroutinefunction(theirs), name


def test_module_names():
    """Whatever has a twin in coatcheck.aio has it under the same name."""
    assert set(coatcheck.aio.__all__) <= set(coatcheck.__all__)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    """The functions take the same arguments, and none of them is awaited."""
    sync, aio = getattr(coatcheck, name), getattr(coatcheck.aio, name)

    assert list(inspect.signature(sync).parameters) == list(inspect.signature(aio).parameters)
    assert not inspect.iscoroutinefunction(aio)
