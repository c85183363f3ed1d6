"""
The options for Celery's settings of its MongoDB backend. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL

#: Options that have the same names here.
_PLACES: Final = ("database", "taskmeta_collection", "groupmeta_collection")
_PORT: Final = 27017
#: Old names of the driver's options, which Celery's documentation still has.
_RENAMED: Final = {"max_pool_size": "maxPoolSize"}


def celery_options(url: URL, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options, see `coatcheck.Backend.celery_options`."""
    given = settings.get("mongodb_backend_settings") or {}
    if not isinstance(given, Mapping):
        raise ConfigurationError("mongodb_backend_settings must be a dict")
    given = dict(given)
    text = _located(url, given)
    options = {name: value for name in _PLACES if (value := given.pop(name, None)) is not None}
    further = given.pop("options", None) or {}
    if not isinstance(further, Mapping):
        raise ConfigurationError("the options in mongodb_backend_settings must be a dict")
    for name, value in {**further, **given}.items():
        options[_RENAMED.get(name, name)] = value
    return text, options


def _located(url: URL, given: dict[str, Any]) -> str:
    """
    Return the URL with the hosts, the user and the password of the settings. For this store they override
    those of the URL.
    """
    hosts = _hosts(given)
    user, password = given.pop("user", None), given.pop("password", None)
    place, slash, database = url.rest.partition("/")
    info, _, own = place.rpartition("@")
    name, _, secret = info.partition(":")
    name = quote(str(user), safe="") if user else name
    secret = quote(str(password), safe="") if password else secret
    info = f"{name}:{secret}@" if secret else f"{name}@" if name else ""
    # The setting names one host, so a scheme that looks hosts up fits only those of the URL.
    scheme = "mongodb" if hosts else url.scheme
    query = "".join(url.raw.partition("?")[1:])
    return f"{scheme}://{info}{hosts or own or 'localhost'}{slash}{database}{query}"


def _hosts(given: dict[str, Any]) -> str:
    """Take the hosts out of the settings; empty if they name no host."""
    several = given.pop("mongo_host", None)
    host, port = given.pop("host", None), given.pop("port", None)
    if several:
        return several if isinstance(several, str) else ",".join(map(str, several))
    if host is None and port is None:
        return ""
    if isinstance(host, (list, tuple)):
        return ",".join(map(str, host))
    text = str(host or "localhost")
    if text.startswith("mongodb"):
        raise ConfigurationError(
            "host in mongodb_backend_settings is a URL: make it the setting result_backend"
        )
    # Celery appends the port before it calls the driver, which reads a list as several hosts.
    return text if text.rpartition(":")[2].isdigit() else f"{text}:{port or _PORT}"
