"""
Operations and waits while the server stops, restarts, stands still, or talks nonsense.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time

import pytest
from support.memcached import MemcachedServer
from support.processes import free_port

import coatcheck
import coatcheck.aio
from coatcheck.testing.proxy import Proxy
from coatcheck_memcached.sockets import Socket

DEADLINE = 30


def test_wait_over_a_restart(own_server):
    """A wait goes on over a server that comes back empty, and gets the record that is stored then."""
    with coatcheck.by_url(own_server.url, operation_timeout=1.5) as results:
        results.store_result("before", 1)
        got = []
        waiter = threading.Thread(target=lambda: got.append(results.wait_for("t", DEADLINE).result))
        waiter.start()
        time.sleep(0.1)
        own_server.kill()
        time.sleep(1)
        own_server.start()

        assert not results.get_task_meta("before").known
        with pytest.raises(coatcheck.UnknownTaskError):
            results.AsyncResult("before").get(missing="raise")
        assert results.store_result("t", 2)
        waiter.join()
        assert [2] == got


def test_wait_ends_at_its_deadline_without_a_server(own_server):
    """A wait on a server that went away ends by its deadline, and says why."""
    with coatcheck.by_url(own_server.url) as results:
        results.exists("t")
        own_server.kill()
        with pytest.raises(coatcheck.WaitTimeoutError) as caught:
            results.wait_for("t", 0.5)

    assert isinstance(caught.value.__cause__, coatcheck.BackendUnavailableError)


async def test_wait_over_a_restart_aio(own_server):
    """The same under asyncio."""
    async with coatcheck.aio.by_url(own_server.url) as results:
        await results.store_result("before", 1)
        own_server.kill()
        own_server.start()

        assert not (await results.get_task_meta("before")).known
        assert await results.store_result("t", 2)
        assert 2 == (await results.wait_for("t", DEADLINE)).result


def test_server_stands_still(own_server):
    """Operations on a server that says nothing end in their time, in every thread; then go on."""
    with coatcheck.by_url(own_server.url, operation_timeout=1.5) as results:
        results.store_result("t", 1)
        took, errors = [], []

        def act(operation) -> None:
            start = time.monotonic()
            try:
                operation("t")
            except Exception as error:
                errors.append(error)
            took.append(time.monotonic() - start)

        acts = [results.get_result, results.store_result, results.forget, results.exists] * 5
        threads = [threading.Thread(target=act, args=(operation,)) for operation in acts]
        with own_server.stopped():
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert {coatcheck.BackendUnavailableError} == set(map(type, errors))
        assert len(acts) == len(errors)
        # Bounded by the operation timeout; the rest is patience with a busy machine.
        assert max(took) < 1.5 + 30

        assert results.store_result("u", 2)
        assert 2 == results.get_result("u")


def test_cut_at_every_byte(server):
    """A reply that is cut at any place is repeated over another connection, and told right."""
    record = b'{"status": "SUCCESS", "result": "x", "task_id": "t"}'
    with server.client as client, Proxy("127.0.0.1", server.port) as proxy:
        client.set("celery-task-meta-t", record)
        with coatcheck.by_url(f"memcached://127.0.0.1:{proxy.port}") as results:
            for n in range(30):
                proxy.drop_replies(1)
                assert "x" == results.get_result("t")
                proxy.cut()
                assert not results.store_result("t", n)


class Liar:
    """
    A server that greets like Memcached, gives the replies it was told, then hangs up or not.

    *replies*: one for each connection, the last for all others; or several for one command each.
    *pause*: its replies come a byte at a time, with this many seconds after each.
    """

    def __init__(
        self, *replies: bytes | tuple[bytes, ...], hang_up: bool, pause: float = 0
    ) -> None:
        self._replies = list(replies)
        self._hang_up = hang_up
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.connections = 0

    def _serve(self) -> None:
        while True:
            try:
                made, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._talk, args=(made,), daemon=True).start()

    def _talk(self, made: socket.socket) -> None:
        with made, contextlib.suppress(OSError):  # who is not believed is hung up on
            while made.recv(65_536).startswith(b"stats"):
                self._say(made, b"STAT item_size_max 1048576\r\nEND\r\n")
            replies = self._replies[min(self.connections, len(self._replies)) - 1]
            for reply in replies if isinstance(replies, tuple) else (replies,):
                self._say(made, reply)
                if not self._hang_up:
                    made.recv(65_536)

    def _say(self, made: socket.socket, text: bytes) -> None:
        if not self._pause:
            made.sendall(text)
        for n in range(len(text)) if self._pause else ():
            made.sendall(text[n : n + 1])
            time.sleep(self._pause)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        self._listener.close()


KEY = b"celery-task-meta-t"
NONSENSE = [
    b"\r\n", b"HTTP/1.1 400 Bad Request\r\n", b"x" * 100_000, b"\x00\xff\r\n", b"STORED\r\n",
    b"VALUE\r\n", b"VALUE " + KEY + b" 0 x\r\nEND\r\n", b"VALUE " + KEY + b" 0 -5\r\nEND\r\n",
    b"VALUE " + KEY + b" 0 5\r\n{}\r\nEND\r\n", b"VALUE other 0 2\r\n{}\r\nEND\r\n",
    b"VALUE " + KEY + b" 0 99999999999999\r\n{}", b"VALUE " + KEY + b" 0 2", b"EN",
    b"STAT\r\nEND\r\n", b"OK", b"ERROR Too many open connections",
]  # fmt: skip


DRIBBLES = [
    ("", b""),  # even the statistics of the server are late
    ("?max_item_size=10000", b"VALUE " + KEY + b" 0 5000\r\n" + b"x" * 5000),
    ("?max_item_size=10000", b"x" * 5000),
    ("?tls=1", b"\x16\x03\x03\x10\x00" + b"\x02" * 5000),
]


@pytest.mark.parametrize(("query", "reply"), DRIBBLES)
def test_reply_that_dribbles(query, reply):
    """A reply that comes in byte by byte is too late all the same."""
    with (
        Liar(reply, hang_up=True, pause=0.05) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}{query}", operation_timeout=0.5) as r,
    ):
        for act in (r.get_result, r.forget, lambda id_: r.store_result(id_, 1)):
            start = time.monotonic()
            with pytest.raises(coatcheck.BackendUnavailableError):
                act("t")
            assert time.monotonic() - start < 60  # 250 seconds otherwise


async def test_reply_that_dribbles_aio():
    """The same under asyncio."""
    query, reply = DRIBBLES[1]
    with Liar(reply, hang_up=True, pause=0.05) as liar:
        url = f"memcached://127.0.0.1:{liar.port}{query}"
        async with coatcheck.aio.by_url(url, operation_timeout=0.5) as results:
            start = time.monotonic()
            with pytest.raises(coatcheck.BackendUnavailableError):
                await results.get_result("t")
            assert time.monotonic() - start < 60


@pytest.mark.parametrize("hang_up", [False, True])
@pytest.mark.parametrize("reply", NONSENSE)
def test_nonsense(reply, hang_up):
    """Nonsense is our error, in time, and no record."""
    with (
        Liar(reply, hang_up=hang_up) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}", operation_timeout=0.3) as results,
    ):
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.get_result("t")
        with pytest.raises(coatcheck.WaitTimeoutError):
            results.wait_for("t", 0.05)


def test_server_with_users(tmp_path):
    """A server that wants a user and a password is told from one that is away."""
    users = tmp_path / "users"
    users.write_text("user:secret\n")
    with (
        MemcachedServer(("-Y", str(users))) as server,
        coatcheck.by_url(server.url, operation_timeout=3) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match="wants a user and a password"),
    ):
        results.store_result("t", 1)


@pytest.mark.parametrize("reply", NONSENSE)
def test_after_nonsense(reply):
    """The connection that talked nonsense is given up; the next one is believed."""
    answer = b"VALUE " + KEY + b' 0 34\r\n{"status": "SUCCESS", "result": 1}\r\nEND\r\n'
    with (
        Liar(reply, answer, hang_up=False) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}", operation_timeout=6) as results,
    ):
        assert 1 == results.get_result("t")
        assert 2 == liar.connections


@pytest.mark.parametrize(
    "replies",
    [
        (b"WHAT\r\n",),
        (b"DELETED\r\n",),
        (b"NOT_STORED\r\nEND\r\n",),
        (b"NOT_STORED\r\n", b"VALUE " + KEY + b" 0 2\r\n{}\r\nEND\r\n"),
        (b"NOT_STORED\r\n", b"VALUE other 0 2 5\r\n{}\r\nEND\r\n"),
        (b"NOT_STORED\r\n", b"STORED\r\n"),
    ],
)
def test_nonsense_to_a_write(replies):
    """Nonsense in reply to a write is our error: nobody hears that the write won or lost."""
    with (
        Liar(replies, hang_up=False) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}", operation_timeout=0.2) as results,
    ):
        with pytest.raises(coatcheck.BackendUnavailableError):
            results.store_result("t", 1)


def test_nonsense_to_a_deletion():
    """Nonsense in reply to a deletion is our error."""
    with (
        Liar(b"STORED\r\n", hang_up=False) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}", operation_timeout=0.2) as results,
        pytest.raises(coatcheck.BackendUnavailableError),
    ):
        results.forget("t")


@pytest.mark.parametrize(
    ("reply", "kind", "message"),
    [
        (b"ERROR\r\n", coatcheck.BackendGetMetaError, "does not know"),
        (b"CLIENT_ERROR line too long\r\n", coatcheck.BackendGetMetaError, "line too long"),
        (b"SERVER_ERROR out of memory\r\n", coatcheck.BackendGetMetaError, "out of memory"),
        (b"CLIENT_ERROR unauthenticated\r\n", coatcheck.BackendUnavailableError, "password"),
        (b"ERROR Too many open connections\r\n", coatcheck.BackendUnavailableError, "Too many"),
    ],
)
def test_refusals(reply, kind, message):
    """An error quotes the server's own words."""
    with (
        Liar(reply, hang_up=True) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}", operation_timeout=0.3) as results,
        pytest.raises(kind, match=message),
    ):
        results.get_result("t")


def test_reply_after_the_end_is_not_taken_for_the_next(server):
    """Bytes after a reply do not answer the next command."""
    answer = b"END\r\nVALUE " + KEY + b" 0 2\r\n{}\r\nEND\r\n"
    with (
        Liar(answer, hang_up=False) as liar,
        coatcheck.by_url(f"memcached://127.0.0.1:{liar.port}", operation_timeout=0.3) as results,
    ):
        assert not results.exists("t")
        assert not results.exists("t")
        assert 2 == liar.connections


def test_interrupted_in_the_middle(server, monkeypatch):
    """Ctrl-C between question and answer does not leave the answer for the next question."""
    with coatcheck.by_url(server.url) as results:
        results.store_result("a", "a")
        results.store_result("b", "b")
        recv = Socket.recv

        def interrupted(self, size: int) -> bytes:
            monkeypatch.setattr(Socket, "recv", recv)
            raise KeyboardInterrupt

        monkeypatch.setattr(Socket, "recv", interrupted)
        with pytest.raises(KeyboardInterrupt):
            results.get_result("a")

        assert "b" == results.get_result("b")


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_fork_with_busy_threads(server):
    """A child that is forked while threads are in the middle of operations has its own connections."""
    with coatcheck.by_url(server.url) as results:
        busy = True

        def work(number: int) -> None:
            n = 0
            while busy:
                n += 1
                results.update_state(f"t{number}", "PROGRESS", n)
                assert n == results.get_result(f"t{number}")

        errors = []
        threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
        threading.excepthook, hook = (
            (lambda args: errors.append(args.exc_value)),
            threading.excepthook,
        )
        try:
            for thread in threads:
                thread.start()
            for n in range(10):
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        signal.alarm(DEADLINE)
                        for i in range(20):
                            results.store_result(f"child{n}-{i}", i)
                            assert i == results.wait_for(f"child{n}-{i}", DEADLINE).result
                        status = 0
                    finally:
                        os._exit(status)
                assert 0 == os.waitpid(pid, 0)[1]
        finally:
            busy = False
            for thread in threads:
                thread.join()
            threading.excepthook = hook

        assert [] == errors
        assert set(range(20)) == {results.get_result(f"child9-{i}") for i in range(20)}


def test_more_threads_than_connections(server):
    """Threads beyond the pool take turns."""
    with coatcheck.by_url(f"{server.url}?max_connections=2") as results:
        threads = [
            threading.Thread(target=results.store_result, args=(f"t{n}", n)) for n in range(50)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert set(range(50)) == {
            m.result for m in results.get_many([f"t{n}" for n in range(50)]).values()
        }
        assert len(results.backend.backend._link._only._pool._idle) <= 2


def test_all_connections_stay_in_use(own_server):
    """The error of a caller that got no connection in time says so."""
    with coatcheck.by_url(f"{own_server.url}?max_connections=1", operation_timeout=1.5) as results:
        results.exists("t")
        pool = results.backend.backend._link._only

        def use(_):
            with pytest.raises(coatcheck.BackendUnavailableError, match="all 1 connections are in"):
                results.exists("t")

        pool.lend(use, time.monotonic() + 30)

        assert not results.exists("t")


def test_cas_that_keeps_losing(results, server, monkeypatch):
    """A record that others change each time in between is replaced in the end, or the time is up."""
    from coatcheck_memcached.steps import Write

    with coatcheck.by_url(server.url) as others:
        others.mark_as_started("t")
    with server.client as client:
        saw, left = Write.saw, [3]

        def disturbed(self, there) -> None:
            if left[0]:
                left[0] -= 1
                client.set(KEY, b'{"status": "PROGRESS", "result": %d}' % left[0])
            saw(self, there)

        monkeypatch.setattr(Write, "saw", disturbed)
        assert results.store_result("t", 1)
        assert [0] == left

        results.mark_as_started("u")
        left[0] = 10**9
        client.set(KEY, b'{"status": "PROGRESS", "result": 0}')
        with (
            coatcheck.by_url(server.url, operation_timeout=0.3) as hasty,
            pytest.raises(coatcheck.BackendUnavailableError),
        ):
            hasty.store_result("t", 1)


def test_refused_connection():
    """A server that is not there is named, and the driver's error is the cause."""
    port = free_port()
    with (
        coatcheck.by_url(f"memcached://127.0.0.1:{port}", operation_timeout=0.2) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match=str(port)) as caught,
    ):
        results.store_result("t", 1)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_name_that_does_not_resolve(host):
    """A host that nobody knows, or that no name can be, is an error of ours."""
    with (
        coatcheck.by_url(f"memcached://{host}", operation_timeout=0.2) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match=host),
    ):
        results.store_result("t", 1)


def test_localhost_by_any_address(server):
    """Of a name with several addresses the one is found where the server listens."""
    with coatcheck.by_url(f"memcached://localhost:{server.port}") as results:
        assert results.store_result("t", 1)


# -- other ways to the server -----------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["memcached+socket", "cache+memcached"])
def test_unix_socket(tmp_path, scheme):
    """A unix socket works, sync."""
    with MemcachedServer(path=str(tmp_path / "mc.sock")) as server:
        with coatcheck.by_url(f"{scheme}://{server.path}") as results:
            timer = threading.Timer(0.1, results.store_result, ("t", 1))
            timer.start()

            assert 1 == results.wait_for("t", DEADLINE).result
            timer.join()


async def test_unix_socket_aio(tmp_path):
    """A unix socket works under asyncio."""
    with MemcachedServer(path=str(tmp_path / "mc.sock")) as server:
        async with coatcheck.aio.by_url(f"memcached+socket://{server.path}") as results:
            await results.store_result("t", 1)

            assert 1 == (await results.wait_for("t", DEADLINE)).result


@pytest.fixture
def certificates(tmp_path):
    """A certificate authority, and a server's certificate."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf = authority.issue_cert("127.0.0.1")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "chain.pem")
    return tmp_path


@pytest.fixture
def tls_server(certificates):
    """A server that speaks TLS only."""
    options = f"ssl_chain_cert={certificates}/chain.pem,ssl_key={certificates}/key.pem"
    with MemcachedServer(("-Z", "-o", options)) as server:
        yield server


def test_tls(tls_server, certificates):
    """TLS with a verified server: large records, waits, several threads."""
    url = f"{tls_server.url}?ssl_ca_certs={certificates}/ca.pem"
    with coatcheck.by_url(url) as results:
        timer = threading.Timer(0.1, results.store_result, ("t", "x" * 500_000))
        timer.start()

        assert 500_000 == len(results.wait_for("t", DEADLINE).result)
        timer.join()
        results.store_many({f"t{n}": "x" * 10_000 for n in range(100)})
        assert 100 == sum(m.known for m in results.get_many([f"t{n}" for n in range(100)]).values())
        results.mark_as_started("u")
        assert results.store_result("u", 1)
        assert not results.store_result("u", 2)


def test_tls_is_verified(tls_server):
    """A server whose certificate nobody vouches for is refused at once, unless that is asked for."""
    with coatcheck.by_url(f"{tls_server.url}?tls=1") as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            results.store_result("t", 1)
    with coatcheck.by_url(f"{tls_server.url}?ssl_cert_reqs=none") as results:
        assert results.store_result("t", 1)
