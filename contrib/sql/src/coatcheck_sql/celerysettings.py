"""
Our options for Celery's settings of its database backend. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import URL, shared_options

from .settings import LOCAL, RESERVED

#: Settings of Celery's with names for tasks and groups, and our options.
_NAMES: Final[Mapping[str, Mapping[str, str]]] = {
    "database_table_names": {"task": "task_table", "group": "group_table"},
    "database_table_schemas": {"task": "task_schema", "group": "group_schema"},
}


def celery_options(url: URL, settings: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the URL and the options, see `coatcheck.Backend.celery_options`."""
    text = url.raw
    if "://" not in text:
        given = settings.get("database_url")
        if not given:
            raise ConfigurationError(f"result_backend is {text!r}, and database_url is not set")
        text = f"db+{given}"
    options: dict[str, Any] = {}
    for setting, names in _NAMES.items():
        given = settings.get(setting) or {}
        options |= {option: given[name] for name, option in names.items() if given.get(name)}
    zone = settings.get("timezone")
    # Where Celery works in UTC its dates are still of the zone that is set (app.now()).
    if zone or settings.get("enable_utc") is False:
        options["timezone"] = zone or LOCAL
    options |= _engine(settings.get("database_engine_options") or {})
    # A name that kombu's brokers have as well.
    return text, options | shared_options(settings, ["max_connections"], url=url)


def _engine(given: Any) -> dict[str, Any]:
    """
    Return our options for those of SQLAlchemy's engine, without those for the way Celery keeps connections:
    here a lost connection is replaced when that shows.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError("database_engine_options has to be a dict")
    options: dict[str, Any] = {}
    if given.get("pool_size"):
        options["max_connections"] = given["pool_size"]
    left_out = {"pool_size", "pool_pre_ping", "max_overflow", "echo_pool", *RESERVED}
    engine = {name: value for name, value in given.items() if name not in left_out}
    if engine:
        options["engine_options"] = engine
    return options
