"""
The options for Celery's settings of its RPC backend. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, masked, shared_options

#: Celery's names of RabbitMQ among brokers, and ours.
_SCHEMES: Final = {"amqp": "rpc", "pyamqp": "rpc", "librabbitmq": "rpc", "amqps": "rpc+amqps"}
_DEFAULT: Final = "amqp://guest:guest@localhost:5672//"


def celery_options(url: URL, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """
    Return the URL and the options, see `coatcheck.Backend.celery_options`. Celery's `rpc://` names no host: its
    replies go by way of the broker of the tasks.
    """
    # kombu's brokers have an option of this name as well.
    options: dict[str, Any] = shared_options(settings, ["heartbeat"], url=url)
    if settings.get("result_persistent"):
        options["persistent"] = True
    life = settings.get("result_expires")
    seconds = life.total_seconds() if isinstance(life, timedelta) else life
    if seconds:
        options["queue_expires"] = seconds
    if url.rest:
        return url.raw, options
    return _broker(settings, options)


def _broker(settings: Mapping[str, Any], options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    given = settings.get("broker_write_url") or settings.get("broker_url") or _DEFAULT
    first = given[0] if isinstance(given, (list, tuple)) else str(given).split(";")[0]
    scheme, separator, rest = str(first).partition("://")
    if not separator or scheme not in _SCHEMES:
        raise ConfigurationError(
            f"the setting result_backend: rpc:// goes by way of the broker, and {masked(str(first))} "
            "is none that speaks AMQP; write rpc://user:password@host/vhost"
        )
    chosen = _SCHEMES[scheme]
    tls = settings.get("broker_use_ssl")
    if tls:
        chosen = "rpc+amqps"
        options |= _tls_options(tls)
    return f"{chosen}://{rest.partition('?')[0]}", options


def _tls_options(tls: Any) -> dict[str, Any]:
    if not isinstance(tls, Mapping):
        return {}
    names = {"ca_certs": "ssl_ca_certs", "certfile": "ssl_certfile", "keyfile": "ssl_keyfile"}
    options = {ours: tls[name] for name, ours in names.items() if tls.get(name)}
    required = tls.get("cert_reqs")
    if required is not None:
        options["ssl_cert_reqs"] = ("none", "optional", "required")[int(required)]
    return options
