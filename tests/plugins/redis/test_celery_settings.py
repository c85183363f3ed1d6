"""
What Celery's settings for its Redis backend mean here.
"""

from __future__ import annotations

import ssl

import pytest

import coatcheck
import coatcheck.aio
from coatcheck_redis.settings import Settings


def found(url: str | None, **settings) -> Settings:
    results = coatcheck.from_celery_config({"result_backend": url, **settings})
    return results.backend.backend._settings


@pytest.mark.parametrize(
    ("url", "settings", "expected"),
    [
        ("redis", {}, ("localhost", 6379, 0)),
        ("redis", {"redis_host": "hh", "redis_port": 1, "redis_db": 5}, ("hh", 1, 5)),
        ("redis", {"redis_host": "::1"}, ("::1", 6379, 0)),
        ("celery.backends.redis.RedisBackend", {"redis_host": "hh"}, ("hh", 6379, 0)),
        ("redis://", {"redis_host": "hh", "redis_db": 5}, ("hh", 6379, None)),
        ("redis://h", {"redis_host": "hh", "redis_port": 1}, ("h", 1, None)),
        ("redis://h:2/3", {"redis_host": "hh", "redis_port": 1, "redis_db": 5}, ("h", 2, 3)),
        ("redis://[::1]/3", {"redis_port": 1}, ("::1", 1, 3)),
        ("redis://[::1]:2", {"redis_port": 1}, ("::1", 2, None)),
        ("redis://:p@/3", {"redis_host": "hh"}, ("hh", 6379, 3)),
        ("redis://h?client_name=a/b@c:d", {"redis_port": 1}, None),
        ("redis://h?client_name=a%2Fb", {"redis_port": 1}, ("h", 1, None)),
        ("redis+redis://h/1", {"redis_host": "hh"}, ("h", 6379, 1)),
    ],
)
def test_places(url, settings, expected):
    """The URL overrides the settings, which fill the gaps, as in Celery."""
    if expected is None:
        with pytest.raises(coatcheck.ConfigurationError):
            found(url, **settings)
        return
    connection = found(url, **settings).connection

    assert expected == (connection["host"], connection["port"], connection.get("db"))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", ("u", "p")),
        ("redis://me@h", ("me", "p")),
        ("redis://:mine@h", ("u", "mine")),
        ("redis://me:mine@h", ("me", "mine")),
        ("redis://h?password=mine", ("u", "mine")),
        ("redis+socket:///run/redis.sock", ("u", "p")),
    ],
)
def test_credentials(url, expected):
    """User and password of the settings are for a URL without."""
    connection = found(url, redis_username="u", redis_password="p").connection

    assert expected == (connection["username"], connection["password"])


def test_timeouts():
    """A timeout that somebody chose arrives. Celery's default of two minutes is ignored."""
    chosen = found("redis://h", redis_socket_timeout=3, redis_socket_connect_timeout=2)
    default = found("redis://h", redis_socket_timeout=120.0)

    assert (3, 2) == tuple(map(chosen.connection.get, ("socket_timeout", "socket_connect_timeout")))
    assert found("redis://h").connection["socket_timeout"] == default.connection["socket_timeout"]
    assert (
        1
        == found("redis://h?socket_timeout=1", redis_socket_timeout=3).connection["socket_timeout"]
    )


@pytest.mark.parametrize("required", [ssl.CERT_NONE, 0, "none", "CERT_NONE"])
@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis://h", True), ("rediss://h", True), ("valkey://h", True), ("redis", True),
        ("sentinel://:p@a:1/2;sentinel://:p@b:2", True), ("redis+socket:///run/r.sock", False),
        ("redis+sentinel://a:1", True),
    ],
)  # fmt: skip
def test_tls(url, tls, required):
    """`redis_backend_use_ssl` makes any URL but that of a socket speak TLS."""
    options = {"ssl_cert_reqs": required, "ssl_ca_certs": "/ca.pem"}
    settings = found(
        url,
        redis_backend_use_ssl=options,
        result_backend_transport_options={"master_name": "m"},
    )

    assert tls == settings.tls
    if tls:
        assert ("none", "/ca.pem") == tuple(
            map(settings.connection.get, ("ssl_cert_reqs", "ssl_ca_certs"))
        )


def test_sentinels():
    """What Celery has in its transport options for sentinels are options here."""
    options = {
        "master_name": "m", "sentinel_kwargs": {"password": "s"}, "min_other_sentinels": 1,
        "retry_policy": {"timeout": 5.0}, "visibility_timeout": 3600,
    }  # fmt: skip
    settings = found("sentinel://a:1;sentinel://b:2", result_backend_transport_options=options)

    assert ("m", 1) == (settings.master_name, settings.min_other_sentinels)
    assert "s" == settings.sentinel_connection["password"]
    assert [("a", 1), ("b", 2)] == settings.nodes


def test_a_master_name_is_for_sentinels():
    """Transport options for sentinels do not disturb a single server."""
    assert (
        "h" == found("redis://h", result_backend_transport_options={"master_name": "m"}).nodes[0][0]
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"redis_backend_use_ssl": True}, "redis_backend_use_ssl has to be a dict"),
        ({"redis_backend_use_ssl": {"ssl_cert_reqs": 7}}, "required, optional or none"),
        ({"redis_port": "port"}, "host or port"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    """Settings that coatcheck cannot follow are refused, with the reason."""
    with pytest.raises(coatcheck.ConfigurationError, match=message):
        found("redis://h", **settings)


async def test_under_asyncio():
    """The side for asyncio reads the same."""
    results = coatcheck.aio.from_celery_config({"result_backend": "redis", "redis_host": "hh"})

    assert "hh" == results.backend.backend._settings.connection["host"]
