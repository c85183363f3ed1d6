"""
`coatcheck doctor` on real servers: a sound one yields no finding, and each planted fault yields its own.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from pymemcache.exceptions import MemcacheError
from support.doctor import diagnose
from support.memcached import MemcachedServer, MemcachedServers
from support.processes import free_port

from coatcheck._doctor import probing
from coatcheck.testing.threads import until


def test_a_sound_server(own_server: MemcachedServer) -> None:
    """
    A sound server yields no fault, keeps nothing of the doctor, and lacks two capabilities.
    """
    found = diagnose(own_server.url)

    assert set() == found.faults
    assert "capability PUSH" in found["notification"]
    assert "capability SCAN" in found["records"]
    with own_server.client as client:
        assert 0 == client.stats()[b"curr_items"]


def test_several_servers(own_servers: MemcachedServers) -> None:
    """
    Each server is checked. One that is down breaks the store, because it keeps a part of the records.
    """
    assert set() == diagnose(own_servers.url).faults
    own_servers.servers[1].kill()
    found = diagnose(f"{own_servers.url}?operation_timeout=1")

    assert ("tcp", "warning") in found.faults
    assert 2 == found.status


@pytest.mark.parametrize(
    ("options", "query", "check"),
    [
        (("-I", "512k"), "", "item size"),
        ((), "?max_item_size=8000000", "item size"),
        (("-C",), "", "election"),
    ],
)
def test_settings(options: tuple[str, ...], query: str, check: str) -> None:
    """
    Servers whose settings do not suit records are found.
    """
    with MemcachedServer(options) as server:
        assert {(check, "warning")} == diagnose(server.url + query).faults


def test_memory() -> None:
    """
    A server that is full is found, and so are the evictions that follow.
    """
    with MemcachedServer(("-m", "8")) as server, server.client as client:
        number = 0
        while not client.stats()[b"evictions"]:
            for _ in range(100):
                client.set(f"filler-{number}", b"x" * 3_900)
                number += 1
        evicted = diagnose(server.url)
    with MemcachedServer(("-m", "64")) as server, server.client as client:
        while client.stats()[b"bytes"] < 0.91 * 64 * 1024 * 1024:
            for _ in range(100):
                client.set(f"filler-{number}", b"x" * 100_000)
                number += 1
            assert number < 10_000
        full = diagnose(server.url)

    assert ("evictions", "warning") in evicted.faults
    assert ("memory", "warning") in full.faults


def accepts(server: MemcachedServer) -> bool:
    """Return whether the server takes a connection now."""
    try:
        server.ask("version")
    except (MemcacheError, OSError):
        return False
    return True


def test_connections() -> None:
    """
    A server that refused connections is found.
    """
    with MemcachedServer(("-c", "20")) as server:
        with ExitStack() as stack:
            for _ in range(30):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        until(lambda: accepts(server))

        assert {("connections", "warning")} == diagnose(server.url).faults


def test_clocks(server: MemcachedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A clock of this machine that differs from the server's is found.
    """
    monkeypatch.setattr(probing, "wall", lambda: time.time() + 3600)

    assert ("clock", "warning") in diagnose(server.url).faults


def test_nobody_listens() -> None:
    """
    A port where nobody listens ends the checks.
    """
    found = diagnose(f"memcached://127.0.0.1:{free_port()}")

    assert {("tcp", "broken")} == found.faults
    assert 1 == len(found.findings)


@pytest.mark.parametrize(
    ("days", "fault"), [(5, ("certificate", "warning")), (-1, ("tls", "broken"))]
)
def test_certificates_that_end(tmp_path: Path, days: float, fault: tuple[str, str]) -> None:
    """
    A certificate that ends soon is a warning, and one that has ended breaks the store.
    """
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) + timedelta(days=days))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    leaf.private_key_pem.write_to_path(tmp_path / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    files = f"ssl_chain_cert={tmp_path}/cert.pem,ssl_key={tmp_path}/key.pem"
    with MemcachedServer(("-Z", "-o", files)) as server:
        assert {fault} == diagnose(f"{server.url}?ssl_ca_certs={tmp_path}/ca.pem").faults
