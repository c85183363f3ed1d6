"""
What Celery's settings for its cache backend mean here.
"""

from __future__ import annotations

import ssl

import pytest

import coatcheck
import coatcheck.aio
from coatcheck._embedded.memory import MemoryBackend


def made(url: str, **settings):
    return coatcheck.from_celery_config({"result_backend": url, **settings})


@pytest.mark.parametrize(
    ("url", "settings", "addresses"),
    [
        ("cache", {"cache_backend": "memcached://h1;h2:2/"}, [("h1", 11211), ("h2", 2)]),
        ("cache", {"cache_backend": "h1;h2"}, [("h1", 11211), ("h2", 11211)]),
        ("cache://h1", {"cache_backend": "memcached://h2"}, [("h1", 11211)]),
        ("celery.backends.cache.CacheBackend", {"cache_backend": "pylibmc://h"}, [("h", 11211)]),
        ("cache+memcached://h1/", {"cache_backend": "memcached://h2"}, [("h1", 11211)]),
        ("memcached://h1/", {}, [("h1", 11211)]),
    ],
)
def test_addresses(url, settings, addresses):
    """The servers are in the URL, or in a setting of their own."""
    assert addresses == made(url, **settings).backend.backend._settings.addresses


def test_options():
    """Options of Celery's client that have a meaning here keep it. Others are ignored."""
    context = ssl.create_default_context()
    options = {
        "timeout": 2, "connect_timeout": 1.5, "max_pool_size": 3, "tls_context": context,
        "no_delay": True, "default_noreply": False, "behaviors": {}, "retry_attempts": 3,
    }  # fmt: skip
    found = made("cache+memcached://h", cache_backend_options=options).backend.backend._settings

    assert (2, 1.5, 3) == (found.read_timeout, found.connect_timeout, found.max_connections)
    assert context is found.tls_context


def test_key_prefix():
    """Celery's prefix of all keys goes before them here."""
    options = {"global_keyprefix": "p"}
    results = made("cache+memcached://h", result_backend_transport_options=options)

    assert "p_celery-task-meta-" == results._key_prefix


def test_celerys_memory():
    """What Celery keeps in one process alone is kept in one process here."""
    assert isinstance(made("cache+memory://").backend.backend, MemoryBackend)
    assert isinstance(made("cache", cache_backend="memory://").backend.backend, MemoryBackend)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "cache_backend does not say which servers"),
        ({"cache_backend": "nosuch://h"}, "write one of"),
        ({"cache_backend_options": "x"}, "has to be a dict"),
        ({"cache_backend_options": {"key_prefix": b"p"}}, "'key_prefix' in cache_backend_options"),
        ({"cache_backend_options": {"hasher": object}}, "'hasher' in cache_backend_options"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    """Settings that coatcheck cannot follow are refused, with the reason."""
    with pytest.raises(coatcheck.ConfigurationError, match=message):
        made("cache", **{"cache_backend": None, **settings})


async def test_under_asyncio():
    """The side for asyncio reads the same."""
    config = {"result_backend": "cache", "cache_backend": "memcached://h/"}
    results = coatcheck.aio.from_celery_config(config)

    assert "cache+memcached" in repr(results)
