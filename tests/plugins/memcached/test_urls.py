"""
URLs: the options of the connection, and those that Celery finds in the same URL.
"""

from __future__ import annotations

import ssl

import pytest
from support.celery import by_id, rows

import coatcheck
import coatcheck.aio
from coatcheck._settings.url import URL
from coatcheck_memcached.settings import Settings, server_name


def settings(url: str, **options) -> Settings:
    return Settings(URL(url), options, operation_timeout=5.0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("memcached://", [("localhost", 11211)]),
        ("memcached://h", [("h", 11211)]),
        ("memcached://h/", [("h", 11211)]),
        ("memcached://h:1", [("h", 1)]),
        ("memcached://h1;h2:2/", [("h1", 11211), ("h2", 2)]),
        ("memcached://h1,h2:2", [("h1", 11211), ("h2", 2)]),
        ("memcached://h1;memcached://h2:2", [("h1", 11211), ("h2", 2)]),
        ("memcached://h1;h1:11211;;h2", [("h1", 11211), ("h2", 11211)]),
        ("memcached://[::1]:2;[::2]", [("::1", 2), ("::2", 11211)]),
        ("memcached+socket:///run/mc.sock", ["/run/mc.sock"]),
        ("memcached+socket:///run/1.sock;/run/2.sock", ["/run/1.sock", "/run/2.sock"]),
        ("cache+memcached:///run/mc.sock", ["/run/mc.sock"]),
        ("cache+memcached://unix:/run/mc.sock", ["/run/mc.sock"]),
        ("cache+pymemcache://h1;/run/mc.sock/", [("h1", 11211), "/run/mc.sock"]),
    ],
)
def test_addresses(url, expected):
    """Several servers follow one another. Repetitions are ignored."""
    assert expected == settings(url).addresses


@pytest.mark.parametrize("module", [coatcheck, coatcheck.aio])
@pytest.mark.parametrize(
    "scheme",
    ["memcached", "cache+memcached", "cache+memcache", "cache+pymemcache", "cache+pylibmc"],
)
async def test_schemes(module, scheme):
    """Every scheme is found, on both sides."""
    results = module.by_url(f"{scheme}://h1;h2")

    assert "coatcheck_memcached" in repr(type(results.backend.backend)) or module is coatcheck.aio


def test_options():
    """Options in the URL or by name arrive."""
    url = "memcached://h?max_connections=3&socket_timeout=2&socket_keepalive=no"
    found = settings(url, socket_connect_timeout=1.5, max_item_size="2000000")

    assert (3, 2.0, False) == (found.max_connections, found.read_timeout, found.keepalive)
    assert (1.5, 2_000_000) == (found.connect_timeout, found.max_item_size)
    assert found.tls_context is None


@pytest.mark.parametrize(
    ("query", "mode", "checking"),
    [
        ("tls=1", ssl.CERT_REQUIRED, True),
        ("ssl_cert_reqs=required", ssl.CERT_REQUIRED, True),
        ("ssl_cert_reqs=CERT_NONE", ssl.CERT_NONE, False),
        ("tls=yes&ssl_cert_reqs=optional", ssl.CERT_OPTIONAL, False),
        ("ssl_check_hostname=no", ssl.CERT_REQUIRED, False),
    ],
)
def test_tls_options(query, mode, checking):
    """TLS is verified unless that is given up."""
    context = settings(f"memcached://h?{query}").tls_context

    assert (mode, checking) == (context.verify_mode, context.check_hostname)


def test_tls_context():
    """A context may be given as it is."""
    context = ssl.create_default_context()

    assert context is settings("memcached://h", tls_context=context).tls_context
    assert settings("memcached://h?tls=0&ssl_cert_reqs=none").tls_context is None


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memcached://h:port", "host or port"),
        ("memcached://h:0", "host or port"),
        ("memcached://h:70000", "host or port"),
        ("memcached://::1", "for IPv6"),
        ("memcached://:11211", "host or port"),
        ("memcached://h/db", "nothing may follow the host"),
        ("memcached://user:secret@h", "SASL"),
        ("memcached://h1;user:secret@h2", "SASL"),
        ("memcached+socket://", "names no socket"),
        ("memcached+socket://h", "names no socket"),
        ("memcached+tls://h", r"may follow the \+"),
        ("memcached://h?no_such=1", "no option 'no_such'"),
        ("memcached://h?max_connection=1", "did you mean 'max_connections'"),
        ("memcached://h?max_connections=0", "from 1 on"),
        ("memcached://h?max_item_size=x", "'max_item_size'"),
        ("memcached://h?ssl_cert_reqs=bogus", "required, optional or none"),
        ("memcached://h?ssl_certfile=/no/secret.pem", "cannot be used"),
        ("memcached://h?tls_context=secret", "an ssl.SSLContext"),
        ("memcached+socket:///run/mc.sock?tls=1", "no TLS on a unix socket"),
        ("cache+nosuch://h", "write one of memcached"),
        ("cache", r"after cache\+"),
    ],
)
@pytest.mark.parametrize("module", [coatcheck, coatcheck.aio])
def test_wrong_urls(module, url, message):
    """A URL that cannot be is refused at once, with the reason and without its secrets."""
    with pytest.raises(coatcheck.ConfigurationError, match=message) as caught:
        module.by_url(url)
    assert "secret" not in str(caught.value)


def test_two_ways_to_say_tls():
    """A context and its details cannot both be given."""
    with pytest.raises(coatcheck.ConfigurationError, match="exclude each other"):
        settings("memcached://h?ssl_cert_reqs=none", tls_context=ssl.create_default_context())


# -- as Celery reads it ----------------------------------------------------------------------

#: Where we differ, and why.
DIFFERENT = {
    "cache+nosuch://h/": "Celery refuses it, too",
    "cache+memcached://h1/?timeout=3": "options are options, not a part of the host",
}


@by_id(
    row
    for row in rows("urls.jsonl")
    if (row["url"] or "").startswith(("cache+", "memcached:")) and "memory" not in row["url"]
)
def test_celery_urls(row):
    """A URL means the same as to Celery."""
    url = row["url"]
    if url in DIFFERENT:
        with pytest.raises(coatcheck.ConfigurationError):
            coatcheck.by_url(url)
        return
    # Celery does not know memcached:// alone.
    expected = row.get("servers", ["h1"])
    names = [server if "/" in server or ":" in server else f"{server}:11211" for server in expected]

    assert names == [server_name(address) for address in settings(url).addresses]
