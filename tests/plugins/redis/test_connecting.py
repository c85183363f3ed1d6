"""
Transports, users and their faults.
"""

from __future__ import annotations

import socket
import threading
import time
import traceback
from contextlib import contextmanager, suppress

import pytest
import redis
from support.processes import free_port
from support.redis import RedisServer

import coatcheck
import coatcheck.aio


def test_refused_connection():
    """A server that is not there is named."""
    port = free_port()
    with (
        coatcheck.by_url(f"redis://:secret@127.0.0.1:{port}", operation_timeout=0.2) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match=str(port)) as caught,
    ):
        results.store_result("t", 1)
    assert isinstance(caught.value, ConnectionError)
    assert isinstance(caught.value.__cause__, redis.ConnectionError)
    assert "secret" not in f"{caught.value} {results!r}"


@contextmanager
def dribbling(reply: bytes):
    """A server that answers every command a byte at a time, and never in time."""
    over = threading.Event()

    def serve() -> None:
        try:
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=answer, args=[connection], daemon=True).start()
        except OSError:
            pass  # it is closed

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(10_000)
            for n in range(len(reply)):
                connection.sendall(reply[n : n + 1])
                if over.wait(0.05):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve)
        server.start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        server.join()


#: Takes 250 seconds to arrive.
DRIBBLE = b"*1\r\n$5000\r\n" + b"x" * 5000


def test_reply_that_dribbles():
    """A reply that comes in byte by byte is too late all the same."""
    with (
        dribbling(DRIBBLE) as url,
        coatcheck.by_url(url, operation_timeout=0.5) as results,
        pytest.raises(coatcheck.BackendUnavailableError),
    ):
        start = time.monotonic()
        try:
            results.exists("t")
        finally:
            assert time.monotonic() - start < 60


async def test_reply_that_dribbles_aio():
    """The same for asyncio."""
    with dribbling(DRIBBLE) as url:
        async with coatcheck.aio.by_url(url, operation_timeout=0.5) as results:
            start = time.monotonic()
            with pytest.raises(coatcheck.BackendUnavailableError):
                await results.exists("t")
            assert time.monotonic() - start < 60


@pytest.fixture
def guarded(tmp_path):
    """A server with a password, whose unix socket is guarded as well."""
    with RedisServer(tmp_path) as server:
        with server.client as client:
            client.acl_setuser("reader", enabled=True, passwords=["+pw"], keys=["*"],
                               commands=["+mget", "+get", "+select", "+ping"], channels=["*"])  # fmt: skip
            client.acl_setuser("mute", enabled=True, passwords=["+pw"], keys=["*"],
                               commands=["+@all"], reset_channels=True)  # fmt: skip
            client.acl_setuser("noscript", enabled=True, passwords=["+pw"], keys=["*"],
                               commands=["+@all", "-@scripting"], channels=["*"])  # fmt: skip
            client.acl_setuser("worker", enabled=True, passwords=["+pw"], keys=["*"],
                               commands=["+@all"], channels=["*"])  # fmt: skip
        yield server


def as_user(server: RedisServer, user: str, password: str = "pw") -> str:
    return server.url.replace("redis://", f"redis://{user}:{password}@")


def test_wrong_password(guarded):
    """A wrong password is told at once, without showing it."""
    url = as_user(guarded, "worker", "wrong-secret")
    with coatcheck.by_url(url, operation_timeout=120) as results:
        start = time.monotonic()
        with pytest.raises(coatcheck.BackendUnavailableError, match="user or password") as caught:
            results.store_result("t", 1)

        assert time.monotonic() - start < 60
        assert "wrong-secret" not in f"{caught.value} {results!r}"


async def test_wrong_password_aio(guarded):
    """A wrong password is told at once."""
    async with coatcheck.aio.by_url(as_user(guarded, "worker", "wrong")) as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="user or password"):
            await results.store_result("t", 1)


@pytest.mark.parametrize("side", ["sync", "asyncio"])
async def test_users_are_not_named(tmp_path, side):
    """A server that refuses a command names the user; neither the error nor its cause passes that on."""
    with RedisServer(tmp_path, kind="redis8") as server:
        server.ask("ACL", "SETUSER", "secretive", "on", ">pw", "~*", "+mget")
        url = as_user(server, "secretive")
        with pytest.raises(coatcheck.BackendStoreError, match="no permissions") as caught:
            if side == "sync":
                with coatcheck.by_url(url) as results:
                    results.store_result("t", 1)
            else:
                async with coatcheck.aio.by_url(url) as results:
                    await results.store_result("t", 1)

    text = "".join(traceback.format_exception(caught.value, limit=0))
    assert "User ***" in text
    assert "secretive" not in text


def test_wrong_database(guarded):
    """A database that the server does not have is named by the server's own words."""
    with (
        coatcheck.by_url(guarded.url.replace("/0", "/999")) as results,
        pytest.raises(coatcheck.BackendError, match="DB index is out of range"),
    ):
        results.store_result("t", 1)


def test_no_right_to_publish(guarded):
    """A user without the right to publish still stores, and waits by looking."""
    with coatcheck.by_url(as_user(guarded, "mute")) as results:
        assert results.store_result("t", 1)
        assert 1 == results.wait_for("t", 5).result
        timer = threading.Timer(0.3, results.store_result, ("u", 2))
        timer.start()

        assert 2 == results.wait_for("u", 30).result
        timer.join()
        assert "no permissions" in str(results.polling)


async def test_no_right_to_subscribe_aio(guarded):
    """A user without the right to subscribe waits by looking."""
    async with coatcheck.aio.by_url(as_user(guarded, "mute")) as results:
        assert await results.store_result("t", 1)
        assert results.polling is None
        assert 1 == (await results.wait_for("t", 5)).result
        assert "no permissions" in str(results.polling)


def test_push_is_told(guarded, caplog):
    """Where waits are pushed nothing is said of it; where they look by themselves it is logged."""
    caplog.set_level("INFO", "coatcheck")
    with coatcheck.by_url(as_user(guarded, "worker")) as results:
        results.store_result("t", 1)
        results.wait_for("t", 5)
        assert results.polling is None
        assert not any("polling" in message for message in caplog.messages)
    with coatcheck.by_url(as_user(guarded, "mute")) as results:
        results.wait_for("t", 5)
        assert any("polling for now" in message for message in caplog.messages)


def test_no_right_to_run_scripts(guarded):
    """The error for a user who may not run scripts names the rights to grant."""
    with (
        coatcheck.by_url(as_user(guarded, "noscript")) as results,
        pytest.raises(coatcheck.BackendStoreError, match=r"grant \+eval"),
    ):
        results.store_result("t", 1)


def test_right_to_read(guarded):
    """A user who may only read can read and wait. The error of a write names the missing right."""
    with coatcheck.by_url(as_user(guarded, "worker")) as worker:
        worker.store_result("t", 1)
    with coatcheck.by_url(as_user(guarded, "reader")) as reader:
        assert 1 == reader.wait_for("t", 5).result
        with pytest.raises(coatcheck.BackendStoreError, match="grant"):
            reader.store_result("u", 1)
        with pytest.raises(coatcheck.BackendStoreError, match="no permissions"):
            reader.forget("t")


@pytest.fixture
def tls_server(tls_options, tmp_path):
    """A server that speaks TLS."""
    port = free_port()
    with RedisServer(tmp_path, options=(*tls_options, "--tls-port", str(port))):
        yield f"rediss://127.0.0.1:{port}/0?client_name=tls"


def test_tls(tls_server, certificates):
    """TLS with a verified server and a client certificate: store, wait, wake."""
    url = (
        f"{tls_server}&ssl_ca_certs={certificates}/ca.pem"
        f"&ssl_certfile={certificates}/client.pem&ssl_keyfile={certificates}/client.key"
    )
    with coatcheck.by_url(url) as results:
        timer = threading.Timer(0.2, results.store_result, ("t", "x" * 100_000))
        timer.start()

        assert 100_000 == len(results.wait_for("t", 30).result)
        timer.join()


async def test_tls_aio(tls_server, certificates):
    """The same under asyncio."""
    async with coatcheck.aio.by_url(f"{tls_server}&ssl_ca_certs={certificates}/ca.pem") as results:
        await results.store_result("t", 1)

        assert 1 == (await results.wait_for("t", 30)).result


def test_tls_is_verified(tls_server):
    """A server whose certificate nobody vouches for is refused, unless that is asked for."""
    with coatcheck.by_url(tls_server) as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            results.store_result("t", 1)
    with coatcheck.by_url(f"{tls_server}&ssl_cert_reqs=none") as results:
        assert results.store_result("t", 1)


def test_unix_socket(server, oracle):
    """A unix socket works, with a database of its own."""
    with coatcheck.by_url(f"redis+socket://{server.socket_path}?virtual_host=2") as results:
        timer = threading.Timer(0.2, results.store_result, ("t", 1))
        timer.start()

        assert 1 == results.wait_for("t", 30).result
        timer.join()
        assert 0 == oracle.dbsize()


async def test_unix_socket_aio(server):
    """A unix socket works under asyncio."""
    async with coatcheck.aio.by_url(f"redis+socket://{server.socket_path}") as results:
        await results.store_result("t", 1)

        assert 1 == (await results.wait_for("t", 30)).result


def test_by_url_does_no_io():
    """A URL whose server is not there is resolved; the first operation connects."""
    results = coatcheck.by_url(f"redis://127.0.0.1:{free_port()}")

    assert "redis://" in repr(results)
    results.close()
