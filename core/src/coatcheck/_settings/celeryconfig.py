"""
Celery's configuration: each setting under one name, and the options that follow from the settings of all
backends.

Nothing of Celery is imported. Each backend reads the settings of its own store, see
`BaseBackend.celery_options`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from types import MappingProxyType, ModuleType
from typing import Any, Final

from .._coding import kombus
from .._coding.serializers import Serializer, get_serializer
from ..errors import ConfigurationError
from .durations import duration
from .options import OPTIONS
from .url import URL

#: A mapping, a module or an object with the settings as attributes, an application, or the import
#: path of one of these.
CeleryConfig = Any
#: The prefix of names of settings in a Django project, and in Celery 3.
NAMESPACE: Final = "CELERY"

#: The usual names of an application in its module.
_APPLICATIONS: Final = ("app", "celery")
#: Names of Celery 3 that are not "CELERY_" and the new name.
_RENAMED: Final = {"task_result_expires": "result_expires", "result_dburi": "database_url"}
#: The prefix of the URL if coatcheck is an application's backend: `coatcheck+scheme://`.
PREFIX: Final = "coatcheck+"
#: The scheme of a backend that coatcheck's own configuration names: `coatcheck://name`.
NAMED: Final = "coatcheck"
#: Transport options of Celery that are handled elsewhere or have no meaning here.
CELERYS_OPTIONS: Final = frozenset({
    "additional_connection_errors",
    "global_keyprefix",
    "master_name",
    "min_other_sentinels",
    "polling_interval",
    "result_chord_ordered",
    "retry_policy",
    "sentinel_kwargs",
})  # fmt: skip
_BROKERS: Final = """
callback connect_retries_timeout connect_timeout errback failover_strategy heartbeat
interval_max interval_start interval_step login_method max_retries pool_timeout
client_properties confirm_publish confirm_timeout on_blocked on_unblocked read_timeout ssl
write_timeout
ack_emulation body_encoding client_name deadletter_queue fanout_patterns fanout_prefix
health_check_interval max_connections priority_steps queue_order_strategy
reauth_check_interval retry_on_timeout sentinel_fanout_compat sep socket_connect_timeout
socket_keepalive socket_keepalive_options socket_timeout supports_fanout unacked_index_key
unacked_key unacked_mutex_expire unacked_mutex_key unacked_restore_interval
unacked_restore_limit unacked_restore_throttle visibility_timeout
ack_deadline_seconds ack_modify_batch_size backoff_policy backoff_tasks bulk_max_messages
client-config conn_string endpoint_url expiration_seconds fetch_message_attributes fifo_mode
is_secure max_messages max_poll_seconds peek_lock_seconds port predefined_exchanges
predefined_queues queue_name_prefix queue_tags region regioninfo retry_backoff_factor
retry_backoff_max retry_total secure sqs-creation-attributes sqs_base sts_role_arn
sts_token_buffer_time sts_token_timeout wait_time_seconds
kafka_admin_config kafka_common_config kafka_consumer_config kafka_producer_config
num_partitions replication_factor sasl_mechanism security_protocol topic_config
broadcast_collection calculate_queue_size capped_queue_size control_folder data_folder_in
data_folder_out default_database default_hostname default_port message_tablename
messages_collection processed_folder queue_tablename queues_collection readpreference
routing_collection ssl_skip_hostname_check ssl_trustfile
store_processed ttl use_notify
"""
#: Options of kombu's transports: of connections, AMQP, Redis, clouds, Kafka, files and databases.
#: Applications give one dict to the broker and to the backend, and Celery's backends ignore these.
BROKERS_OPTIONS: Final = frozenset(_BROKERS.split())
#: Classes of Celery's own, which its setting may name in place of a scheme.
_CLASS: Final = re.compile(r"celery\.backends\.(\w+)[.:]\w+\Z")
_MODULES: Final = {"base": "disabled", "filesystem": "file"}
#: Celery writes "_" behind a key prefix that ends in none of these characters.
_JOINTS: Final = ":_-."


def read(config: CeleryConfig, namespace: str = NAMESPACE) -> Mapping[str, Any]:
    """
    Return the settings of *config* by their new names, such as "result_backend".

    Where a setting is given by its old name too, the new one counts.
    """
    prefix = f"{namespace.upper().rstrip('_')}_"
    old: dict[str, Any] = {}
    new: dict[str, Any] = {}
    found = _found(config)
    for name in _names(found):
        # Other settings of a project are not read: reading one may be costly.
        if name.startswith(prefix):
            short = name.removeprefix(prefix).lower()
            old[_RENAMED.get(short, short)] = _value(found, name)
        elif name.islower():
            new[name] = _value(found, name)
    # In an application the environment overrides the configuration.
    backend = getattr(found, "result_backend", None)
    if backend is not None:
        new["result_backend"] = backend
    given = {name: value for name, value in new.items() if value is not None or name not in old}
    return MappingProxyType({**old, **given})


def _found(config: CeleryConfig) -> Any:
    if isinstance(config, str):
        config = _imported(config)
    if config is None or isinstance(config, (int, float, bytes)):
        raise ConfigurationError(
            f"{config!r} is no configuration: give a mapping, a module, an application, or the "
            "import path of one of these"
        )
    if isinstance(config, Mapping):
        return config
    # An application keeps its settings in `conf`, as a mapping; one of a module is found as by
    # `celery -A module`.
    inside = [getattr(config, name, None) for name in _APPLICATIONS]
    candidates = [config, *inside] if isinstance(config, ModuleType) else [config]
    confs = (getattr(candidate, "conf", None) for candidate in candidates)
    return next((conf for conf in confs if isinstance(conf, Mapping)), config)


def _imported(path: str) -> Any:
    module, _, attributes = path.partition(":")
    try:
        found: Any = import_module(module)
        for name in filter(None, attributes.split(".")):
            found = getattr(found, name)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the configuration {path!r} cannot be imported: {error}; write package.module, or "
            "package.module:app"
        ) from error
    return found


def _names(config: Any) -> Iterator[str]:
    # The settings of an application also list the other names of their module.
    names = config if isinstance(config, Mapping) else dir(config)
    return (name for name in names if isinstance(name, str) and not name.startswith("_"))


def _value(config: Any, name: str) -> Any:
    # Either may list a name that it does not have, as Django's settings do.
    return config.get(name) if isinstance(config, Mapping) else getattr(config, name, None)


def url_of(settings: Mapping[str, Any]) -> URL:
    """Return the URL for `result_backend`. Without that setting Celery keeps no results."""
    given = settings.get("result_backend") or "disabled"
    if not isinstance(given, str):
        raise ConfigurationError("result_backend has to be a URL, such as scheme://host")
    named = _CLASS.match(given)
    if named is not None:
        given = _MODULES.get(named[1], named[1])
    return URL(given.removeprefix(PREFIX))


def own_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return coatcheck's own transport options, for an application that uses it as its backend."""
    options = _transport_options_of_ours(settings)
    left_out = CELERYS_OPTIONS | BROKERS_OPTIONS
    return {name: value for name, value in options.items() if name not in left_out}


def shared_options(
    settings: Mapping[str, Any], names: Iterable[str], *, url: URL
) -> dict[str, Any]:
    """
    Return the transport options among *names* that *url* does not give, for such an application.

    For a backend that has options with names of `BROKERS_OPTIONS`.
    """
    options = _transport_options_of_ours(settings)
    return {
        name: options[name]
        for name in names
        if options.get(name) is not None and name not in url.query
    }


def _transport_options_of_ours(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    ours = str(settings.get("result_backend")).startswith((PREFIX, f"{NAMED}:"))
    return transport_options(settings) if ours else {}


def common_options(settings: Mapping[str, Any], *, read_only: bool) -> dict[str, Any]:
    """
    Return the options of `Results` for the settings that all of Celery's backends share.

    With *read_only*, leave out the options that concern writing only. Raises `ConfigurationError` for a
    setting that coatcheck cannot follow.
    """
    options = _serializer(settings, read_only=read_only)
    if not read_only:
        options |= _lifetime(settings)
    accept = settings.get("result_accept_content") or settings.get("accept_content")
    if accept:
        options["accept"] = tuple(_accepted(accept, options.get("serializer")))
    prefix = transport_options(settings).get("global_keyprefix")
    if prefix:
        joint = "" if str(prefix)[-1] in _JOINTS else "_"
        options["key_prefix"] = f"{prefix}{joint}{OPTIONS['key_prefix'].default}"
    return options


def transport_options(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `result_backend_transport_options`."""
    options = settings.get("result_backend_transport_options") or {}
    if not isinstance(options, Mapping):
        raise ConfigurationError("result_backend_transport_options has to be a dict")
    return options


def _lifetime(settings: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "result_expires" in settings:
        options["expires"] = _seconds("result_expires", settings["result_expires"])
    failures = settings.get("result_failure_expires")
    if failures is not None:
        lifetime = _seconds("result_failure_expires", failures)
        if lifetime != options.get("expires", OPTIONS["expires"].default):
            raise _unsupported(
                "result_failure_expires", "all records live equally long here, see result_expires"
            )
    return options


def _serializer(settings: Mapping[str, Any], *, read_only: bool) -> dict[str, Any]:
    name = str(settings.get("result_serializer") or "json")
    # A serializer that the application registered with kombu goes first, if kombu is imported.
    own = kombus.registered(name)
    try:
        serializer = own or get_serializer(name)
    except ConfigurationError as error:
        if not read_only:
            raise _unsupported("result_serializer", str(error)) from None
        # The first bytes of YAML differ from JSON; another format could be mistaken for JSON.
        return {} if name == "yaml" else {"serializer": kombus.Unregistered(name)}
    if own is None and settings.get("result_serializer") is None:
        return {}
    # A reader needs it too: a store of fields may not name the serializer of a value.
    pickled = {"unsafe_pickle": True} if read_only and name == "pickle" else {}
    return {"serializer": own or serializer.name, **pickled}


def _unsupported(name: str, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"the setting {name}: {reason}; leave it out, or say read_only=True where nothing is "
        "written"
    )


def _seconds(name: str, value: Any) -> float | None:
    """Return a lifetime in seconds; 0 keeps the record, as in Celery."""
    seconds = 0.0 if value is None else duration(value)
    if not 0 <= seconds < math.inf:
        raise ConfigurationError(
            f"the setting {name}: use seconds, a timedelta, or 0 or None to keep"
        )
    return seconds or None


def _accepted(accept: Any, own: str | Serializer | None) -> Iterator[str]:
    """
    Iterate over the accepted serializers that are known here. The others cannot be read anyway.
    """
    mine = own if own is None or isinstance(own, str) else own.name
    for name in kombus.accepted([accept] if isinstance(accept, str) else map(str, accept)):
        try:
            if name != mine:
                get_serializer(name)
        except ConfigurationError:
            continue
        yield name
