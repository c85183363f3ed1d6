"""
Explains the contract's failures: a plugin of pytest that the first test of a proof loads.

Under pytest-xdist the process that prints runs no test: load the plugin there by
`pytest_plugins = ["coatcheck.testing.report"]` in the conftest.py at the root.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import Any, Final

import pytest
from _pytest._code.code import ExceptionRepr

from .journal import Journal
from .patience import PATIENCE
from .promises import PROMISES, left_out
from .stacks import Hang, bounded

#: How long one test may take, and the end of one, in seconds. Each wait in a test has `PATIENCE`.
TEST_ENDS: Final = 5 * PATIENCE
TEARDOWN_ENDS: Final = PATIENCE
#: How long the end of a test may take once one hung: most likely they all do.
AGAIN: Final = min(PATIENCE, 3.0)

_NAME: Final = __name__
_OUTPUT: Final = "coatcheck_left_out"
#: By proofs and reasons, the tests that are no part of them.
_LEFT_OUT: Final = pytest.StashKey[dict[str, dict[str, str]]]()
_STATUS: Final = pytest.StashKey[int]()
#: Whether a test of a proof failed, and whether one hung.
_FAILED: Final = pytest.StashKey[bool]()
_HUNG: Final = pytest.StashKey[bool]()


def load(config: pytest.Config) -> None:
    if not config.pluginmanager.has_plugin(_NAME):
        config.pluginmanager.register(sys.modules[_NAME], _NAME)


def journal_of(item: pytest.Item) -> Journal | None:
    """Return the journal of *item*, if it is the test of a proof and has one."""
    journal = getattr(getattr(item, "instance", None), "journal", None)
    return journal if isinstance(journal, Journal) else None


# -- while tests run --------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """End a test that hangs, with the stacks of all threads."""
    if journal_of(item) is None:
        return (yield)
    with bounded(TEST_ENDS, "the test"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, Any, Any]:
    """End the closing of clients in the same way if it hangs."""
    if journal_of(item) is None:
        return (yield)
    hung = _HUNG in item.config.stash
    with bounded(
        AGAIN if hung else TEARDOWN_ENDS, "the end of the test, which closes its clients,"
    ):
        return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the promise, the expectation and the calls of the backend to a failure."""
    report = yield
    journal = journal_of(item)
    if journal is None or not report.failed or call.excinfo is None:
        return report
    item.config.stash[_FAILED] = True
    if call.excinfo.errisinstance(Hang):
        item.config.stash[_HUNG] = True
    test: Any = getattr(item, "function", None)
    promises = getattr(test, "promises", ())
    sections = {
        "promise": "\n".join(f"{number}: {PROMISES[number]}" for number in promises),
        "expected": inspect.getdoc(test) or "",
        "done, as the backend was asked": journal.text() or "nothing",
    }
    report.__dict__["told"] = {
        "reason": "\n".join(_leaves(call.excinfo.value)),
        "expected": sections["expected"],
        "operations": journal.text(),
    }
    if isinstance(report.longrepr, ExceptionRepr):
        for title, text in sections.items():
            report.longrepr.addsection(title, text)
    else:
        told = "\n\n".join(f"{title}: {text}" for title, text in sections.items())
        report.longrepr = f"{report.longrepr}\n\n{told}"
    return report


def _leaves(error: BaseException) -> Iterator[str]:
    """Yield the words of *error*, or of each exception in a group."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield f"{type(error).__name__}: {error}"


# -- in the end -------------------------------------------------------------------------------


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Collect the tests left out; a worker of pytest-xdist passes them on."""
    config = session.config
    found = config.stash.setdefault(_LEFT_OUT, {})
    classes = {getattr(item, "cls", None) for item in getattr(session, "items", ())}
    for cls in classes:
        if isinstance(cls, type) and left_out(cls):
            found[cls.__qualname__] = _reasons(left_out(cls))
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output[_OUTPUT] = found
    else:
        config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over the list of a worker of pytest-xdist."""
    found = getattr(node, "workeroutput", {}).get(_OUTPUT, {})
    node.config.stash.setdefault(_LEFT_OUT, {}).update(found)


def _reasons(tests: Mapping[str, Iterable[str]]) -> dict[str, str]:
    by_reason: dict[str, list[str]] = {}
    for name, hooks in tests.items():
        by_reason.setdefault(f"without {' and '.join(hooks)}", []).append(name)
    return {reason: ", ".join(sorted(names)) for reason, names in by_reason.items()}


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """List the broken promises, and the tests left out, each with the reason."""
    write = terminalreporter.write_line
    if broken := _broken(terminalreporter.stats):
        terminalreporter.section("coatcheck: broken promises")
        for number, tests in sorted(broken.items()):
            write(f"{number}: {PROMISES[number]}")
            for test in tests:
                write(f"    {test}")
    if found := config.stash.get(_LEFT_OUT, {}):
        terminalreporter.section("coatcheck: tests left out, for want of hooks in the proof")
        for proof, reasons in sorted(found.items()):
            write(proof)
            for reason, names in sorted(reasons.items()):
                write(f"    {reason}: {names}")


def _broken(stats: Mapping[str, list[Any]]) -> dict[int, list[str]]:
    broken: dict[int, list[str]] = {}
    for report in (*stats.get("failed", ()), *stats.get("error", ())):
        for name, number in getattr(report, "user_properties", ()):
            if name == "promise" and report.nodeid not in broken.setdefault(number, []):
                broken[number].append(report.nodeid)
    return broken


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the process soon, since hanging threads would keep the interpreter waiting."""
    if _FAILED in config.stash:
        status = config.stash.get(_STATUS, 1)
        end = threading.Timer(PATIENCE, os._exit, (status,))
        end.daemon = True  # which runs as long as the others are waited for
        end.start()
