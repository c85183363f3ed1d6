"""
Translate the parts of a URL that SQLAlchemy does not take, and refuse options that no driver has.
"""

from __future__ import annotations

import difflib
import inspect
import re
from importlib import import_module
from importlib.util import find_spec
from typing import Final

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import boolean

#: Several hosts, as libpq has them in URLs and SQLAlchemy does not.
_HOSTS: Final = re.compile(
    r"(postgresql(?:\+\w+)?://(?:[^@/?]*@)?)([^/?,]*(?:,[^/?,]*)+)(.*)", re.DOTALL
)
_HOST: Final = re.compile(r"(?:\[([^\]]*)\]|([^:\[\]]*))(?::(\d*))?")
#: Options of MySQL's own client, which hosting providers put into their URLs.
_SSL_MODE: Final = frozenset({"ssl", "ssl-mode", "ssl_mode", "sslmode"})
_OF_SQLITE: Final = frozenset(
    {
        "timeout", "detect_types", "isolation_level", "check_same_thread", "cached_statements",
        "uri",
    }
)  # fmt: skip
#: Drivers whose options are those of libpq.
_LIBPQ: Final = frozenset({"psycopg", "psycopg2"})


def without_hosts(text: str) -> tuple[str, dict[str, str]]:
    """
    Return a URL of PostgreSQL without its hosts, if there are several, and those as SQLAlchemy takes
    them in the query. Raises `ValueError` for a host or a port that cannot be read.
    """
    found = _HOSTS.match(text)
    if found is None:
        return text, {}
    start, hosts, rest = found.groups()
    parts = [_HOST.fullmatch(host) for host in hosts.split(",")]
    if None in parts:
        raise ValueError(hosts)
    names = [part[1] or part[2] or "localhost" for part in parts if part is not None]
    ports = [part[3] or "5432" for part in parts if part is not None]
    return start + rest, {"host": ",".join(names), "port": ",".join(ports)}


def without_pooler(url: sa.URL) -> tuple[bool, sa.URL]:
    """
    Return whether *url* says `pgbouncer=true`, as Supabase and Prisma write it, and the rest of it.
    """
    said = url.query.get("pgbouncer")
    if said is None:
        return False, url
    try:
        pooler = boolean(said)
    except ValueError as error:
        raise ConfigurationError(f"the option 'pgbouncer': {error}") from None
    return pooler, url.difference_update_query(["pgbouncer"])


def check(url: sa.URL, *, where: str) -> None:
    """
    Raise `ConfigurationError` for an option that the driver of *url* does not have. Values are not
    shown: they may be secrets.
    """
    driver = url.get_driver_name()
    for name in sorted(_SSL_MODE & set(url.query)) if driver == "pymysql" else ():
        raise ConfigurationError(
            f"{where} has no option {name!r}, which is not one of pymysql: write "
            "ssl_ca=/path/of/ca.pem, by which the connection is encrypted and the server verified"
        )
    known = _known(driver)
    if driver == "pysqlite" and "uri" not in url.query:
        unknown = set(url.query) - known  # else they are SQLite's own, which are not checked
    else:
        unknown = (_passed_on(url, where) & set(url.query)) - known if known else set()
    for name in sorted(unknown):
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigurationError(
            f"{where} has no option {name!r}, nor has its driver {driver}{hint}"
        )
    _passed_on(url, where)


def _passed_on(url: sa.URL, where: str) -> set[str]:
    """Return the names of the arguments that the driver gets."""
    try:
        return set(url.get_dialect()().create_connect_args(url)[1])
    except (ArgumentError, ValueError, TypeError) as error:  # of SQLAlchemy's own conversions
        raise ConfigurationError(
            f"{where}: the value of one of these options cannot be read: "
            f"{', '.join(sorted(url.query))} ({type(error).__name__})"
        ) from None


def _known(driver: str) -> frozenset[str]:
    """Return the names of the driver's options, none where they cannot be told."""
    if driver in _LIBPQ and find_spec("psycopg") is not None:
        libpq = import_module("psycopg.pq")
        return frozenset(option.keyword.decode() for option in libpq.Conninfo.get_defaults())
    if driver == "pymysql":
        connection = import_module("pymysql.connections").Connection
        return frozenset(inspect.signature(connection).parameters)
    return _OF_SQLITE if driver == "pysqlite" else frozenset()
