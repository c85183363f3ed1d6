"""
URLs: the options of the connection, and those that Celery finds in the same URL.
"""

from __future__ import annotations

import re

import pytest
from support.celery import by_id, rows

import coatcheck
import coatcheck.aio
from coatcheck._settings.url import URL
from coatcheck_redis.settings import Settings


def settings(url: str, **options) -> Settings:
    return Settings(URL(url), options, operation_timeout=5.0)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379}),
        ("redis://h", {"host": "h", "port": 6379}),
        ("redis://h:6380/2", {"host": "h", "port": 6380, "db": 2}),
        ("redis://h:6380/", {"host": "h", "port": 6380}),
        ("redis://:pw@h:6380/1", {"password": "pw", "host": "h", "db": 1}),
        ("redis://user:p%40ss@h", {"username": "user", "password": "p@ss"}),
        ("redis://h/1?db=3", {"db": 3}),
        ("redis://[::1]:6380/1", {"host": "::1", "port": 6380, "db": 1}),
        ("redis+redis://h/1", {"host": "h", "db": 1}),
        ("redis+socket:///run/redis.sock?virtual_host=3", {"path": "/run/redis.sock", "db": 3}),
        ("redis://h?virtual_host=4", {"host": "h", "db": 4}),
        ("redis://h/1?virtual_host=4&db=5", {"host": "h", "db": 5}),
        ("redis+socket://:pw@/run/redis.sock", {"path": "/run/redis.sock", "password": "pw"}),
        ("rediss://h?ssl_cert_reqs=CERT_NONE", {"ssl_cert_reqs": "none"}),
        ("rediss://h?ssl_ca_certs=%2Fca.pem", {"ssl_ca_certs": "/ca.pem"}),
        ("redis://h?socket_timeout=5&socket_keepalive=True", {"socket_timeout": 5.0}),
        ("valkey://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("valkeys://h?ssl_cert_reqs=none", {"host": "h", "ssl_cert_reqs": "none"}),
        ("redis+cluster://u:pw@h", {"username": "u", "password": "pw", "host": None}),
        ("sentinel://u:pw@h/2?master_name=m", {"username": "u", "password": "pw", "db": 2}),
    ],
)
def test_urls(url, expected):
    """The URL's parts and options arrive at the connection."""
    connection = settings(url).connection

    assert expected == {name: connection.get(name) for name in expected}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sentinel://h?master_name=m", [("h", 26379)]),
        ("sentinel://:p@a:1/2;sentinel://b:2?master_name=m", [("a", 1), ("b", 2)]),
        ("sentinel://:p@a:1/2;sentinel://:p@b?master_name=m", [("a", 1), ("b", 26379)]),
        ("sentinel://:p,;@a:1,b:2/1?master_name=m", [("a", 1), ("b", 2)]),
        ("redis+sentinel://a;[::1]:2?master_name=m", [("a", 26379), ("::1", 2)]),
        ("redis+cluster://a,b:7001", [("a", 6379), ("b", 7001)]),
        ("redis+cluster://:p@a;redis+cluster://b", [("a", 6379), ("b", 6379)]),
        ("rediss+cluster://a", [("a", 6379)]),
        ("valkey+cluster://a", [("a", 6379)]),
    ],
)
def test_several_hosts(url, expected):
    """Sentinels, and nodes to begin with, are listed in one URL or as several."""
    assert expected == settings(url).nodes


@pytest.mark.parametrize(
    ("scheme", "tls"),
    [
        ("redis", False), ("rediss", True), ("redis+socket", False), ("redis+cluster", False),
        ("rediss+cluster", True), ("valkey", False), ("valkeys", True), ("valkeys+cluster", True),
        ("sentinel", False), ("redis+sentinel", False), ("rediss+sentinel", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("module", [coatcheck, coatcheck.aio])
async def test_schemes(module, scheme, tls):
    """Every scheme is found. A scheme with an s before the + speaks TLS."""
    options = {"master_name": "m"} if "sentinel" in scheme else {}
    results = module.by_url(f"{scheme}:///1", **options)

    assert tls == results.backend.backend._settings.tls


def test_sentinels_own_credentials():
    """User and password of the sentinels are their own; those in the URL are the servers'."""
    asked = {"sentinel_password": "s", "sentinel_kwargs": {"username": "su", "password": "other"}}
    found = settings("sentinel://u:pw@h/1", master_name="m", min_other_sentinels=1, **asked)

    assert ("su", "s") == tuple(map(found.sentinel_connection.get, ("username", "password")))
    assert ("u", "pw") == tuple(map(found.connection.get, ("username", "password")))
    assert "db" not in found.sentinel_connection
    assert 1 == found.min_other_sentinels


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://h/abc", "the text after the host is not the number"),
        ("redis://h:port/1", "host or port"),
        ("redis://:pa#secret@h/1", "host or port"),
        ("redis://a,b", "several hosts"),
        ("redis://a;redis://b", "several hosts"),
        ("redis+sockt:///run/redis.sock", r"may follow the \+"),
        ("redis://h?no_such=1", "no option 'no_such'"),
        ("redis://h?socket_timeot=1", "did you mean 'socket_timeout'"),
        ("redis://h?ssl_cert_reqs=required", "no option 'ssl_cert_reqs'"),
        ("redis://h?master_name=m", "no option 'master_name'"),
        ("rediss://h?ssl_cert_reqs=bogus", "required, optional or none"),
        ("redis://h?db=x", "'db'"),
        ("redis+socket://", "names no socket"),
        ("sentinel://h", "master_name="),
        ("sentinel://a?master_name=m;sentinel://b", "after the last host"),
        ("sentinel://h?master_name=m&sentinel_kwargs=secret", "'sentinel_kwargs'"),
        ("sentinel://h?master_name=m&min_other_sentinels=two", "'min_other_sentinels'"),
    ],
)
@pytest.mark.parametrize("module", [coatcheck, coatcheck.aio])
def test_wrong_urls(module, url, message):
    """A URL that cannot be is refused at once, with the reason and without its secrets."""
    with pytest.raises(coatcheck.ConfigurationError, match=message) as caught:
        module.by_url(url)
    assert "secret" not in str(caught.value)


def test_wrong_sentinel_kwargs():
    """An option that the sentinels' connections do not have is named, and its value is not."""
    with pytest.raises(coatcheck.ConfigurationError, match="no option 'pasword'") as caught:
        settings("sentinel://h", master_name="m", sentinel_kwargs={"pasword": "secret"})
    assert "secret" not in str(caught.value)


# -- as Celery reads it ----------------------------------------------------------------------

#: Where we differ, and why.
DIFFERENT = {
    "redis://h?unknown_option=1": "an unknown option is refused at once, not at the first use",
    "sentinel://a;b;c": "hosts that Celery takes for localhost; a master that nobody named",
    "socket:///var/run/redis.sock": "no scheme of ours or of Celery's",
}
#: The settings of Celery that are options of the same meaning here.
OPTIONS = {
    "redis_max_connections": "max_connections",
    "redis_socket_timeout": "socket_timeout",
    "redis_socket_connect_timeout": "socket_connect_timeout",
    "redis_retry_on_timeout": "retry_on_timeout",
    "redis_socket_keepalive": "socket_keepalive",
    "redis_backend_health_check_interval": "health_check_interval",
    "redis_username": "username",
    "redis_password": "password",
}
COMPARED = {
    "host": None, "port": None, "path": None, "db": 0, "username": None, "password": None,
    "health_check_interval": None, "ssl_ca_certs": None, "ssl_certfile": None, "ssl_keyfile": None,
}  # fmt: skip
CERT_REQS = {None: None, 0: "none", 1: "optional", 2: "required"}


def options_of(conf: dict) -> dict:
    """Return our form of Celery's settings, without those that other tests cover."""
    found = {OPTIONS[name]: value for name, value in conf.items() if name in OPTIONS}
    transport = dict(conf.get("result_backend_transport_options", {}))
    transport.pop("global_keyprefix", None)  # the option key_prefix of all key-value stores
    return {**found, **conf.get("redis_backend_use_ssl", {}), **transport}


@by_id(
    row
    for row in rows("urls.jsonl")
    if re.match(r"(redis|sentinel|socket)\S*://", row["url"] or "")
)
def test_celery_urls(row):
    """A URL means the same as to Celery. If Celery crashes, the error names the reason."""
    url, conf = row["url"], row["conf"]
    if url in DIFFERENT or ("raises" in row and "result_serializer" not in conf):
        with pytest.raises(coatcheck.ConfigurationError):
            coatcheck.by_url(url)
        return
    found = settings(url, **options_of(conf))
    expected = row.get("connparams", {"host": "h", "port": 6379})
    hosts = expected.get("hosts")
    if hosts:
        assert [(place["host"], place["port"]) for place in hosts] == found.nodes

    assert {name: expected.get(name, default) for name, default in COMPARED.items()} == {
        name: found.connection.get(name, default) for name, default in COMPARED.items()
    }
    if expected.get("max_connections"):
        assert expected["max_connections"] == found.max_connections
    if "ssl_cert_reqs" in expected:
        assert CERT_REQS[expected["ssl_cert_reqs"]] == found.connection["ssl_cert_reqs"]
    assert ("connection_class" in expected) == (found.tls or found.socket)
