"""
Celery's settings for its cache backend, as a URL and options. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, shared_options

#: Options of Celery's client, and ours of the same meaning.
_OPTIONS: Final = {
    "timeout": "socket_timeout",
    "connect_timeout": "socket_connect_timeout",
    "max_pool_size": "max_connections",
    "tls_context": "tls_context",
}
#: Our options that kombu's brokers have as well.
_SHARED: Final = ("socket_timeout", "socket_connect_timeout", "socket_keepalive", "max_connections")
#: Options that would store other bytes, or the same bytes under other keys.
_REFUSED: Final = (
    "key_prefix", "hasher", "serde", "serializer", "deserializer", "allow_unicode_keys"
)  # fmt: skip


def celery_options(url: URL, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options, see `coatcheck.Backend.celery_options`."""
    given = settings.get("cache_backend_options") or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError("cache_backend_options has to be a dict")
    for name in _REFUSED:
        if given.get(name):
            raise ConfigurationError(
                f"the option {name!r} in cache_backend_options: coatcheck could not find or read the "
                "records; for a prefix of keys use the transport option global_keyprefix"
            )
    options = {
        option: given[name] for name, option in _OPTIONS.items() if given.get(name) is not None
    }
    options |= shared_options(settings, _SHARED, url=url)
    text = _servers(url, settings)
    # Celery's store for tests, within one process. It has no options.
    return ("memory://", {}) if text.startswith("cache+memory:") else (text, options)


def _servers(url: URL, settings: Mapping[str, Any]) -> str:
    """Return the URL. If `result_backend` is a bare name, it is in `cache_backend`."""
    if url.scheme != "cache":
        return url.raw
    servers = url.raw.partition("://")[2] or settings.get("cache_backend")
    if not isinstance(servers, str) or not servers:
        raise ConfigurationError(
            "result_backend is 'cache', and the setting cache_backend does not say which servers: "
            "write cache+memcached://host1;host2/"
        )
    return f"cache+{servers}" if "://" in servers else f"cache+memcached://{servers}"
