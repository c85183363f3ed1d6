"""
Databases that speak TLS: who asks for a verified server gets no other one.
"""

from __future__ import annotations

import os
import shutil

import pytest
import trustme
from support.sql import MariaDBServer, PostgreSQLServer

import coatcheck
import coatcheck.aio
from coatcheck import BackendUnavailableError

#: The server's options for its certificate and its key, and what a URL says to have it verified.
KINDS = {
    "postgresql": (
        PostgreSQLServer,
        ["ssl=on", "ssl_cert_file={0}/cert.pem", "ssl_key_file={0}/key.pem"],
        "sslmode=verify-full&sslrootcert={0}/{1}.pem",
    ),
    "mariadb": (
        MariaDBServer,
        ["--ssl-cert={0}/cert.pem", "--ssl-key={0}/key.pem"],
        "ssl_ca={0}/{1}.pem",
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def verifying(request):
    """What gives the URL of a server by whose authority it is to be certified."""
    make, options, query = KINDS[request.param]
    server = make()
    authority, stranger = trustme.CA(), trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(server.directory / "ca.pem")
    stranger.cert_pem.write_to_path(server.directory / "stranger.pem")
    leaf.private_key_pem.write_to_path(server.directory / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(server.directory / "cert.pem")
    (server.directory / "key.pem").chmod(0o600)
    if os.geteuid() == 0:
        shutil.chown(server.directory / "key.pem", server.user, server.user)

    def url(who):
        return f"{server.url}?{query.format(server.directory, who)}"

    try:
        server.start(*(option.format(server.directory) for option in options))
        yield url
    finally:
        server.__exit__()


async def test_a_verified_server(verifying):
    """
    With the authority's certificate the server is believed, on both sides.
    """
    with coatcheck.by_url(verifying("ca")) as results:
        assert results.store_result("t", 1)
    async with coatcheck.aio.by_url(verifying("ca")) as results:
        assert 1 == await results.get_result("t")


async def test_a_server_that_cannot_be_verified(verifying):
    """
    With another authority, or under another name, it is not, and the error says why.
    """
    for url in (verifying("stranger"), verifying("ca").replace("127.0.0.1", "localhost")):
        with (
            coatcheck.by_url(url, operation_timeout=2) as results,
            pytest.raises(BackendUnavailableError, match=r"(?i)certificate"),
        ):
            results.store_result("t", 1)
        async with coatcheck.aio.by_url(url, operation_timeout=2) as aio_results:
            with pytest.raises(BackendUnavailableError, match=r"(?i)certificate"):
                await aio_results.store_result("t", 1)
