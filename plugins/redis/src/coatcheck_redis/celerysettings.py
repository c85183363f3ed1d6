"""
Celery's settings for its Redis backend, as a URL and options. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final
from urllib.parse import quote

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, shared_options, transport_options

#: Celery's settings, and the options of the same meaning.
_OPTIONS: Final = {
    "redis_max_connections": "max_connections",
    "redis_socket_timeout": "socket_timeout",
    "redis_socket_connect_timeout": "socket_connect_timeout",
    "redis_socket_keepalive": "socket_keepalive",
    "redis_backend_health_check_interval": "health_check_interval",
    "redis_client_name": "client_name",
}
#: Our options that kombu's brokers have as well.
_SHARED: Final = (
    "client_name",
    "health_check_interval",
    "max_connections",
    "retry_on_timeout",
    "socket_connect_timeout",
    "socket_keepalive",
    "socket_timeout",
)
_PROVIDER: Final = "credential_provider"
#: Celery's default of `redis_socket_timeout`. It is ignored: operations are bounded anyway.
_CELERYS_TIMEOUT: Final = 120.0
_ONE_HOST: Final = ("redis", "rediss", "valkey", "valkeys")
_SENTINEL_OPTIONS: Final = ("master_name", "sentinel_kwargs", "min_other_sentinels")
#: Celery also takes the numbers of `ssl.CERT_NONE` and so on: their names here.
_CERT_REQS: Final = ("none", "optional", "required")


def celery_options(url: URL, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options, see `coatcheck.Backend.celery_options`."""
    # As in Celery, the URL overrides the settings.
    options = {
        option: settings[name]
        for name, option in _OPTIONS.items()
        if settings.get(name) and option not in url.query
    }
    if options.get("socket_timeout") == _CELERYS_TIMEOUT:
        del options["socket_timeout"]
    options |= shared_options(settings, _SHARED, url=url)
    options |= _identity(url, settings) | _sentinel(url, settings)
    text, provider = _provider(_located(url, settings), url, settings)
    return _with_tls(text, settings, options | provider)


def _provider(text: str, url: URL, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """
    Return the URL *text* without its credential provider, and that as an option.

    Celery takes an object or the import path of its class. Raises `ConfigurationError`.
    """
    given = url.query.get(_PROVIDER) or settings.get(f"redis_backend_{_PROVIDER}")
    if not given:
        return text, {}
    if _PROVIDER in url.query:
        start, _, query = text.partition("?")
        items = [item for item in query.split("&") if item.partition("=")[0] != _PROVIDER]
        text = f"{start}?{'&'.join(items)}" if items else start
    return text, {_PROVIDER: _made(given) if isinstance(given, str) else given}


def _made(path: str) -> Any:
    module, _, name = path.rpartition(":" if ":" in path else ".")
    try:
        return getattr(import_module(module), name)()
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ConfigurationError(
            f"the credential provider {path!r} cannot be made: {error}; write package.module.Class"
        ) from error


def _located(url: URL, settings: Mapping[str, Any]) -> str:
    """Return the URL with the host, the port and, for a bare name, the database of the settings."""
    host, port = settings.get("redis_host"), settings.get("redis_port")
    bare = "://" not in url.raw
    if not bare and (url.scheme not in _ONE_HOST or not (host or port)):
        return url.raw
    place, slash, path = url.rest.partition("/")
    info, at, own = place.rpartition("@")
    name, colon, number = own.rpartition(":")
    if not colon or own.endswith("]"):
        name, number = own, ""
    where = f"{info}{at}{name or _shown(str(host or 'localhost'))}:{number or port or 6379}"
    database = f"/{settings.get('redis_db') or 0}" if bare else f"{slash}{path}"
    query = "".join(url.raw.partition("?")[1:])
    return f"{url.scheme}://{where}{database}{query}"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else quote(host)


def _identity(url: URL, settings: Mapping[str, Any]) -> dict[str, Any]:
    user, _, password = url.rest.partition("/")[0].rpartition("@")[0].partition(":")
    named = {"username": user, "password": password}
    return {
        name: settings[f"redis_{name}"]
        for name, value in named.items()
        if not value and name not in url.query and settings.get(f"redis_{name}")
    }


def _sentinel(url: URL, settings: Mapping[str, Any]) -> dict[str, Any]:
    if "sentinel" not in url.scheme:
        return {}
    given = transport_options(settings)
    return {name: given[name] for name in _SENTINEL_OPTIONS if given.get(name)}


def _with_tls(
    text: str, settings: Mapping[str, Any], options: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    tls = settings.get("redis_backend_use_ssl")
    scheme = text.partition("://")[0]
    if not tls or "socket" in scheme:
        return text, options
    if not isinstance(tls, Mapping):
        raise ConfigurationError("redis_backend_use_ssl has to be a dict, with ssl_cert_reqs")
    given = dict(tls)
    required = given.get("ssl_cert_reqs")
    if isinstance(required, int) and 0 <= required < len(_CERT_REQS):
        given["ssl_cert_reqs"] = _CERT_REQS[required]
    secure = {"redis": "rediss", "valkey": "valkeys", "sentinel": "rediss+sentinel"}
    base, plus, transport = scheme.lower().partition("+")
    chosen = f"{secure.get(base, base)}{plus}{transport}"
    return text.replace(f"{scheme}://", f"{chosen}://"), {**options, **given}
