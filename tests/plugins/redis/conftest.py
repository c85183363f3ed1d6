"""
Redis servers, and clients of both colours.
"""

from __future__ import annotations

import inspect

import pytest
import trustme
from support.contract import is_core
from support.redis import RedisServer

import coatcheck
import coatcheck.aio

#: The parts of the contract that concern a loop in a thread.
ON_LOOP = (".forks", ".interrupted", ".resources", ".sharing", ".shape", ".threads")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Leave most of the contract on clusters, behind sentinels and on a loop to `nox -s long`."""
    for item in items:
        if item.path.name == "test_contract_on_loop.py" and not (
            is_core(item) or inspect.unwrap(item.function).__module__.endswith(ON_LOOP)
        ):
            item.add_marker("long")
        if item.path.name == "test_contract_deployments.py" and not (
            is_core(item) and "redis" in item.name.rpartition("[")[2].rstrip("]").split("-")
        ):
            item.add_marker("long")


@pytest.fixture(scope="session")
def shared_server(tmp_path_factory):
    """One Redis for the tests that leave it as it is."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A Redis that takes values of a megabyte."""
    options = ("--proto-max-bulk-len", "1mb")
    with RedisServer(tmp_path_factory.mktemp("small"), options=options) as server:
        yield server


@pytest.fixture
def server(shared_server):
    """That Redis, empty."""
    with shared_server.client as client:
        client.flushall()
        client.script_flush()
    return shared_server


@pytest.fixture
def own_server(tmp_path):
    """A Redis that a test may kill."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def oracle(server):
    """A way to the data round coatcheck."""
    with server.client as client:
        yield client


@pytest.fixture
def results(server):
    """Synchronous results on the shared server."""
    with coatcheck.by_url(server.url) as results:
        yield results


@pytest.fixture
async def aio_results(server):
    """Results for asyncio on the shared server."""
    async with coatcheck.aio.by_url(server.url) as results:
        yield results


@pytest.fixture
def certificates(tmp_path):
    """A certificate authority, a server's certificate, and one for a client."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name in ("127.0.0.1", "client"):
        leaf = authority.issue_cert(name)
        leaf.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        leaf.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    return tmp_path


@pytest.fixture
def tls_options(certificates):
    """Options by which a server speaks TLS and takes a client certificate, without the port."""
    return (
        "--tls-cert-file", str(certificates / "127.0.0.1.pem"),
        "--tls-key-file", str(certificates / "127.0.0.1.key"),
        "--tls-ca-cert-file", str(certificates / "ca.pem"), "--tls-auth-clients", "optional",
    )  # fmt: skip
