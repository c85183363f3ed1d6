"""
Servers that speak TLS only, and want a certificate of whoever comes.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
import trustme
from support.mongo import ReplicaSet

import coatcheck
import coatcheck.aio

DEADLINE = 30


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate authority, a server's certificate, and one for a client."""
    directory, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    for name in ("127.0.0.1", "client"):
        leaf = authority.issue_cert(name)
        leaf.private_key_and_cert_chain_pem.write_to_path(directory / f"{name}.pem")
    return directory


@pytest.fixture(scope="module")
def secured(certificates, tmp_path_factory):
    """A replica set of one server that speaks nothing but TLS."""
    authority = str(certificates / "ca.pem")
    options = (
        "--tlsMode", "requireTLS", "--tlsCAFile", authority,
        "--tlsCertificateKeyFile", str(certificates / "127.0.0.1.pem"),
    )  # fmt: skip
    mine = {
        "tls": True,
        "tlsCAFile": authority,
        "tlsCertificateKeyFile": str(certificates / "client.pem"),
    }
    with ReplicaSet(tmp_path_factory.mktemp("secured"), 1, options, mine) as servers:
        yield servers


@pytest.fixture
def url(secured):
    """The set, empty; its URL does not trust it."""
    secured.empty()
    return f"{secured.url}&tls=true"


@pytest.fixture
def trusting(url, certificates):
    """The URL of who knows the authority."""
    return f"{url}&tlsCAFile={certificates}/ca.pem"


@pytest.fixture
def certified(trusting, certificates):
    """The URL of who knows the authority and has a certificate."""
    return f"{trusting}&tlsCertificateKeyFile={certificates}/client.pem"


def test_tls(certified):
    """With a server that is verified and a client's certificate: store, wait, be woken."""
    with coatcheck.by_url(certified) as results:
        timer = threading.Timer(0.2, results.store_result, ("t", "x" * 100_000))
        timer.start()

        assert 100_000 == len(results.wait_for("t", DEADLINE).result)
        timer.join()
        assert results.polling is None


async def test_tls_aio(certified):
    """The same under asyncio."""
    async with coatcheck.aio.by_url(certified) as results:
        wait = asyncio.create_task(results.wait_for("t", DEADLINE))
        await asyncio.sleep(0.2)
        await results.store_result("t", "x" * 100_000)

        assert 100_000 == len((await wait).result)
        assert results.polling is None


def test_server_is_verified(url, certificates):
    """A server without a trusted certificate is refused, unless the user accepts that."""
    with (
        coatcheck.by_url(url, operation_timeout=2) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        results.store_result("t", 1)
    mine = f"tlsCertificateKeyFile={certificates}/client.pem"
    with coatcheck.by_url(f"{url}&{mine}&tlsAllowInvalidCertificates=true") as results:
        assert results.store_result("t", 1)


async def test_server_is_verified_aio(url):
    """The same under asyncio."""
    async with coatcheck.aio.by_url(url, operation_timeout=2) as results:
        with pytest.raises(coatcheck.BackendUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await results.store_result("t", 1)


def test_client_without_a_certificate(trusting):
    """A server that wants a certificate gets one, or nobody gets in."""
    with (
        coatcheck.by_url(trusting, operation_timeout=1) as results,
        pytest.raises(coatcheck.BackendUnavailableError),
    ):
        results.store_result("t", 1)


async def test_client_without_a_certificate_aio(trusting):
    """The same under asyncio."""
    async with coatcheck.aio.by_url(trusting, operation_timeout=1) as results:
        with pytest.raises(coatcheck.BackendUnavailableError):
            await results.store_result("t", 1)


def test_client_without_tls(secured):
    """A client without TLS learns the name of the server that does not answer."""
    server = f"127.0.0.1:{secured.primary.port}"
    with (
        coatcheck.by_url(f"mongodb://{server}/results", operation_timeout=1) as results,
        pytest.raises(coatcheck.BackendUnavailableError, match=server),
    ):
        results.store_result("t", 1)
