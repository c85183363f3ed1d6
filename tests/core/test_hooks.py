"""
Plugins watch, change nothing, and break nothing; sync and asyncio.
"""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

import coatcheck
import coatcheck.aio
from coatcheck import hookimpl
from coatcheck._embedded.memory import MemoryBackend
from coatcheck._results import hooks

pytestmark = pytest.mark.usefixtures("_fresh_scan")


class Log:
    """Writes down what it is told."""

    def __init__(self):
        self.lines = []

    @hookimpl
    def stored(self, meta, won):
        self.lines.append(("stored", meta.task_id, meta.status, won))

    @hookimpl
    def read(self, metas, asked):
        self.lines.append(("read", sorted(metas), asked))

    @hookimpl
    def waited(self, meta, seconds):
        assert seconds >= 0
        self.lines.append(("waited", meta.task_id))

    @hookimpl
    def failed(self, operation, error):
        self.lines.append(("failed", operation, type(error).__name__))

    @hookimpl
    def forgotten(self, task_ids, count):
        self.lines.append(("forgotten", task_ids, count))


EXPECTED = [
    ("stored", "t", "SUCCESS", True),
    ("stored", "t", "SUCCESS", False),
    ("stored", "a", "SUCCESS", True),
    ("read", ["t"], 1),
    ("read", ["a", "t"], 3),
    ("waited", "t"),
    ("waited", "a"),
    ("failed", "wait", "WaitTimeoutError"),
    ("failed", "store", "EncodeError"),
    ("stored", "o", "FAILURE", True),
    ("forgotten", ["t"], 1),
    ("forgotten", ["t"], 0),
]


def test_what_is_told():
    """A plugin hears of every store, read, wait, failure and forgotten record."""
    log = Log()
    with coatcheck.Results(MemoryBackend(), plugins=[log]) as results:
        results.store_result("t", 1)
        results.store_result("t", 2)
        results.store_many({"a": 1})
        results.get_state("t")
        results.get_many("atx")
        results.wait_for("t")
        list(results.as_completed(["a"]))
        with pytest.raises(coatcheck.WaitTimeoutError):
            results.wait_for("x", 0)
        with pytest.raises(coatcheck.EncodeError):
            results.store_result("o", object())
        results.forget("t")
        results.forget("t")
        results.ResultSet(["a"]).save("g")
        assert ["a"] == results.restore_group("g").task_ids
        assert results.delete_group("g")
        assert ["a", "o"] == sorted(meta.task_id for meta in results.scan())
        assert 0 == results.purge()
        assert results.trouble is None

    assert EXPECTED == log.lines[: len(EXPECTED)]


async def test_what_is_told_aio():
    """A plugin hears the same under asyncio."""
    log = Log()
    async with coatcheck.aio.Results(MemoryBackend(), plugins=[log]) as results:
        await results.store_result("t", 1)
        await results.store_result("t", 2)
        await results.store_many({"a": 1})
        await results.get_state("t")
        await results.get_many("atx")
        await results.wait_for("t")
        assert ["a"] == [meta.task_id async for meta in results.as_completed(["a"])]
        with pytest.raises(coatcheck.WaitTimeoutError):
            await results.wait_for("x", 0)
        with pytest.raises(coatcheck.EncodeError):
            await results.store_result("o", object())
        await results.forget("t")
        await results.forget("t")
        await results.ResultSet(["a"]).save("g")
        assert ["a"] == (await results.restore_group("g")).task_ids
        assert await results.delete_group("g")
        assert ["a", "o"] == sorted([meta.task_id async for meta in results.scan()])
        assert 0 == await results.purge()
        assert results.trouble is None

    assert EXPECTED == log.lines[: len(EXPECTED)]


def test_watchers_cannot_break_the_watched(caplog):
    """A hook that raises is logged, and the store goes on."""

    class Broken:
        @hookimpl
        def stored(self, meta):
            raise ZeroDivisionError

    with coatcheck.Results(MemoryBackend(), plugins=[Broken()]) as results:
        assert results.store_result("t", 1)
        assert 1 == results.get_result("t")

    assert "'stored'" in caplog.text
    assert "ZeroDivisionError" in caplog.text


def test_a_hook_that_does_not_exist():
    """A plugin with a hook that there is not is refused, by name."""

    class Wrong:
        @hookimpl
        def stord(self, meta):
            """Misspelt."""

    with pytest.raises(coatcheck.PluginError, match="stord"):
        coatcheck.Results(MemoryBackend(), plugins=[Wrong()])


def test_a_hook_with_an_argument_that_does_not_exist():
    """So is one that asks for what there is not."""

    class Wrong:
        @hookimpl
        def stored(self, mesta):
            """Misspelt."""

    with pytest.raises(coatcheck.PluginError, match="mesta"):
        coatcheck.Results(MemoryBackend(), plugins=[Wrong()])


SOURCE = """
import coatcheck
class Plugin:
    @coatcheck.hookimpl
    def stored(self, meta):
        told.append(meta.task_id)
told = []
plugin = Plugin()
"""


@pytest.fixture
def plugin(distribution):
    """An installed plugin."""
    distribution("coat-watch", hooks.GROUP, watch="coat_watch:plugin", coat_watch=SOURCE)


@pytest.mark.usefixtures("plugin")
def test_installed_plugins(monkeypatch):
    """Installed plugins are loaded; the environment names others, or none."""
    monkeypatch.delenv("COATCHECK_PLUGINS")
    assert "coat_watch" in [type(plugin).__module__ for plugin in hooks.installed(scan=True)]
    assert [] == hooks.installed(scan=False)
    monkeypatch.setenv("COATCHECK_PLUGINS", "")
    assert [] == hooks.installed(scan=True)
    monkeypatch.setenv("COATCHECK_PLUGINS", "watch")
    assert 1 == len(hooks.installed(scan=False))
    monkeypatch.setenv("COATCHECK_PLUGINS", "watch, wotch")
    with pytest.raises(coatcheck.ConfigurationError, match=r"'wotch'.*installed: .*watch"):
        hooks.installed(scan=False)


@pytest.mark.usefixtures("plugin")
def test_embedded_schemes_have_the_plugins_that_are_named(monkeypatch):
    """An embedded scheme does not look for plugins, but has those that are named."""
    with coatcheck.by_url("memory://hooks") as results:
        results.store_result("a", 1)
    monkeypatch.setenv("COATCHECK_PLUGINS", "watch")
    with coatcheck.by_url("memory://hooks") as results:
        results.store_result("b", 1)

    assert ["b"] == sys.modules["coat_watch"].told


@pytest.mark.usefixtures("plugin")
def test_plugins_of_plugin_schemes(distribution, monkeypatch):
    """A backend that was found by a scan has the installed plugins."""
    monkeypatch.delenv("COATCHECK_PLUGINS")
    backend = "from coatcheck._embedded.memory import MemoryBackend as Own\npass\n"
    distribution("coat-own", "coatcheck.backends", own="coat_own:Own", coat_own=backend)
    with coatcheck.by_url("own://") as results:
        results.store_result("c", 1)

    assert ["c"] == sys.modules["coat_watch"].told


def test_a_broken_plugin_breaks_nobody(distribution, caplog, monkeypatch):
    """An installed plugin that cannot be imported is logged; a named one is an error."""
    caplog.set_level(logging.WARNING, "coatcheck")
    distribution("coat-broken", hooks.GROUP, broken="coat_broken:x", coat_broken="1 / 0\n")
    monkeypatch.delenv("COATCHECK_PLUGINS")

    assert "coat_broken" not in [type(found).__module__ for found in hooks.installed(scan=True)]
    assert "coat-broken 1.0" in caplog.text
    monkeypatch.setenv("COATCHECK_PLUGINS", "broken")
    with pytest.raises(coatcheck.PluginError, match="coat-broken"):
        hooks.installed(scan=True)


def test_nobody_listens():
    """Without plugins pluggy is not imported, and the backend is not wrapped."""
    program = (
        "import sys, coatcheck\n"
        "results = coatcheck.by_url('memory://')\n"
        "results.store_result('t', 1)\n"
        "assert 'pluggy' not in sys.modules\n"
        "assert type(results.backend).__name__ == 'Records'\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)


class Traced:
    """Knows a trace context, and where it is asked."""

    def __init__(self, context):
        self.context = context
        self.asked = []

    @hookimpl
    def traceparent(self, store):
        self.asked.append(store)
        return self.context


def test_the_trace_context_of_a_record():
    """A record carries the context that a plugin knows, in every kind of write, or the one of its writer."""
    traced = Traced("00-1-2-01")
    with coatcheck.by_url("memory://traced?safety_look=9", plugins=[traced]) as results:
        results.store_result("one", 1)
        results.store_many({"many": 1})
        results.store_result("own", 1, traceparent="00-3-4-01")
        with pytest.raises(coatcheck.EncodeError):
            results.store_result("refused", object())
        with results.running("t"):
            assert "00-1-2-01" == results.get_task_meta("t").traceparent
        found = results.get_many(["one", "many", "own", "refused", "t"])

    contexts = [meta.traceparent for meta in found.values()]
    assert ["00-1-2-01", "00-1-2-01", "00-3-4-01", "00-1-2-01", "00-1-2-01"] == contexts
    assert {"memory://traced?safety_look=***"} == set(traced.asked)


async def test_the_trace_context_of_a_record_aio():
    """Under asyncio a record carries it as well."""
    async with coatcheck.aio.by_url(
        "memory://traced-aio", plugins=[Traced("00-1-2-01")]
    ) as results:
        await results.store_result("one", 1)
        await results.store_many({"many": 1})
        found = await results.get_many(["one", "many"])

    assert ["00-1-2-01", "00-1-2-01"] == [meta.traceparent for meta in found.values()]


@pytest.mark.parametrize("context", [None, 1])
def test_no_trace_context(context):
    """Without a context, or with one that is no text, the record has none."""
    with coatcheck.Results(MemoryBackend(), plugins=[Traced(context)]) as results:
        results.store_result("t", 1)

        assert "traceparent" not in results.get_task_meta("t").document


def test_a_worker_that_is_lost_is_found_by_its_trace():
    """The failure of a lost worker carries the worker's context."""
    with coatcheck.by_url("memory://lost", plugins=[Traced("00-9-9-01")]) as waiter:
        beat = {"every": 0.02, "beat": 1}
        waiter.store_result("t", None, "STARTED", heartbeat=beat, traceparent="00-1-2-01")
        assert "FAILURE" == waiter.wait_for("t", 20).status

        assert "00-1-2-01" == waiter.get_task_meta("t").traceparent
