"""
Names are looked up in no more than the time that there is.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import threading

import pytest

from coatcheck._backends import asyncio_lookups as aio_lookups
from coatcheck._backends import lookups
from coatcheck.testing.proof import PATIENCE
from coatcheck.testing.threads import Started, until


@pytest.fixture
def silent(monkeypatch):
    """A name server that answers when told to, and the list of what it was asked."""
    answers, asked = threading.Event(), []

    def getaddrinfo(host, port, *args, flags=0, **options):
        if flags == socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "a name")
        asked.append(host)
        answers.wait(PATIENCE)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    yield answers, asked
    answers.set()


def test_numbers_are_no_names():
    """An address in numbers is not looked up, however little time there is."""
    assert ("127.0.0.1", 80) == lookups.addresses("127.0.0.1", 80, 0)[0][4]
    assert ("::1", 80) == lookups.addresses("::1", 80, 0)[0][4][:2]


def test_names():
    """A name is looked up."""
    assert 80 == lookups.addresses("localhost", 80, PATIENCE)[0][4][1]


def test_a_silent_name_server(silent):
    """Who may not wait longer hears of it, and who may gets the late answer; it is asked once."""
    answers, asked = silent
    with pytest.raises(socket.gaierror, match=r"did not answer for 'a\.test' within 0\.01 s"):
        lookups.addresses("a.test", 1, 0.01)
    waiting = [Started(lookups.addresses, "a.test", 1, PATIENCE) for _ in range(3)]
    answers.set()

    assert [("127.0.0.1", 1)] * 3 == [wait.answer()[0][4] for wait in waiting]
    assert "a.test" == asked[0]
    until(lambda: not lookups.LOOKUPS._running)


async def test_a_silent_name_server_aio(silent):
    """The same under asyncio, with no thread of the loop's own."""
    answers, _asked = silent
    with pytest.raises(socket.gaierror, match=r"did not answer for 'a\.test' within 0\.01 s"):
        await aio_lookups.addresses("a.test", 1, 0.01)
    waiting = [asyncio.create_task(aio_lookups.addresses("a.test", 1, math.inf)) for _ in range(3)]
    await asyncio.sleep(0)
    answers.set()

    assert [("127.0.0.1", 1)] * 3 == [(await wait)[0][4] for wait in waiting]
    assert None is getattr(asyncio.get_running_loop(), "_default_executor", None)


def test_a_loop_that_ends_before_its_answer(silent):
    """An answer that comes when the loop is gone is nobody's."""
    answers, _asked = silent

    async def ask():
        with pytest.raises(socket.gaierror):
            await aio_lookups.addresses("a.test", 1, 0.001)

    asyncio.run(ask())
    lookup = lookups.LOOKUPS.ask("a.test", 1)
    answers.set()
    until(lambda: lookup.done)
    told = threading.Event()
    lookup.when_done(told.set)

    assert told.is_set()


def test_errors_are_raised(monkeypatch):
    """What the system says of a name is raised where it was asked for."""

    def getaddrinfo(*args, **options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    with pytest.raises(socket.gaierror, match="not known"):
        lookups.addresses("b.test", 1, PATIENCE)


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_fork_during_a_lookup(silent):
    """A child asks anew: the thread that its parent has for it is not there."""
    answers, asked = silent
    with pytest.raises(socket.gaierror):
        lookups.addresses("a.test", 1, 0)
    until(lambda: asked)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            answers.set()
            lookups.addresses("a.test", 1, PATIENCE)
            status = 0
        finally:
            os._exit(status)

    assert 0 == os.waitpid(pid, 0)[1]
