"""
SQLAlchemy's engines. Their connections keep to the deadline of the operation if the driver can.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from inspect import signature
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import pool
from sqlalchemy.engine.default import DefaultDialect

from coatcheck.plugin import lookups

from .bounded_sqlite import BoundedConnection as BoundedSQLite
from .deadline import left
from .limits import Limits
from .settings import Settings

#: In autocommit there is nothing to roll back. SQLAlchemy before 2.0.43 cannot be told so.
_WITHOUT_ROLLBACK: Final = {
    name: True
    for name in ("skip_autocommit_rollback",)
    if name in signature(DefaultDialect).parameters
}
#: Options for SQLAlchemy's pool, which only asyncio uses.
_POOLING: Final = frozenset({"pool_size", "max_overflow", "pool_timeout", "pool_use_lifo"})
#: A wait for a connection may take this part of an operation's time.
PART: Final = 0.4


def options_of(settings: Settings, limits: Limits) -> dict[str, Any]:
    """Return the options of engines for both sides."""
    options: dict[str, Any] = {
        "isolation_level": "AUTOCOMMIT",
        **_WITHOUT_ROLLBACK,
        "hide_parameters": True,
        "pool_size": settings.max_connections,
        "max_overflow": 0,
        "pool_timeout": settings.operation_timeout * PART,
        "pool_use_lifo": True,
        "pool_reset_on_return": None,
        **settings.dialect.engine_options,
    }
    given = settings.engine_options
    connect_args = {**_connect_args(settings, limits), **given.get("connect_args", {})}
    return {**options, **given, "connect_args": connect_args}


def _connect_args(settings: Settings, limits: Limits) -> dict[str, Any]:
    driver, seconds = settings.url.get_driver_name(), settings.operation_timeout
    if settings.dialect.is_file:
        args: dict[str, Any] = {"timeout": seconds * PART, "check_same_thread": False}
        if driver == "pysqlite":
            args["factory"] = BoundedSQLite
        return args
    if driver == "pymysql":
        part = seconds * PART
        return {
            "connect_timeout": max(math.ceil(part), 1), "read_timeout": part,
            "write_timeout": part, "charset": "utf8mb4",
            "init_command": limits.mysql,
        }  # fmt: skip
    if driver == "psycopg":
        return {"prepare_threshold": 5 if settings.prepare else None}
    if driver == "psycopg2":
        whole = math.ceil(seconds)
        milliseconds = math.ceil(seconds * 1000)
        return {
            "connect_timeout": max(whole, 2), "tcp_user_timeout": milliseconds,
            "options": f"-c statement_timeout={milliseconds}",
        }  # fmt: skip
    return {"connect_timeout": max(math.ceil(seconds), 1)}


def engine_of(settings: Settings, limits: Limits, *, tolerant: bool) -> sa.Engine:
    """
    Return an engine for synchronous code. A *tolerant* one reads text in SQLite that is not UTF-8.
    """
    options, url = options_of(settings, limits), settings.url
    options = {name: value for name, value in options.items() if name not in _POOLING}
    if url.get_driver_name() == "psycopg":
        return _psycopg_engine(url, options, limits)
    if url.get_driver_name() == "pymysql":
        return _pymysql_engine(url, options)
    engine = sa.create_engine(url, poolclass=pool.NullPool, **options)
    if settings.dialect.is_file:
        sa.event.listen(engine, "connect", _prepare_sqlite)
        if tolerant:
            sa.event.listen(engine, "connect", _take_any_text)
    else:
        sa.event.listen(engine, "do_connect", lambda *_: look_up(url))
    return engine


def _bounded_engine(url: sa.URL, options: dict[str, Any], connect: Callable[..., Any]) -> sa.Engine:
    """Return an engine whose connections *connect* makes."""
    connect_args = options.pop("connect_args")

    def create() -> Any:
        positional, named = engine.dialect.create_connect_args(url)
        return connect(*positional, **{**named, **connect_args})

    engine = sa.create_engine(url, creator=create, poolclass=pool.NullPool, **options)
    return engine


def _psycopg_engine(url: sa.URL, options: dict[str, Any], limits: Limits) -> sa.Engine:
    from .bounded import PooledConnection  # noqa: PLC0415 - not everybody has psycopg

    def connect(*args: Any, **named: Any) -> PooledConnection:
        look_up(url)
        connection = PooledConnection.connect(*args, **named)
        try:
            connection.begin(limits)
        except BaseException:
            connection.close()
            raise
        return connection

    return _bounded_engine(url, options, connect)


def _pymysql_engine(url: sa.URL, options: dict[str, Any]) -> sa.Engine:
    from .bounded_pymysql import BoundedConnection  # noqa: PLC0415 - as above

    return _bounded_engine(url, options, BoundedConnection)


def look_up(url: sa.URL | None) -> None:
    """
    Look the host up within the time of the operation. The driver does so again without a deadline, but then
    the answer is cached.
    """
    host = looked_up_host(url)
    if url is not None and host is not None:
        lookups.addresses(host, url.port or 0, left())


def looked_up_host(url: sa.URL | None) -> str | None:
    """Return the host, unless it is a socket or there are several."""
    host = url.host if url is not None else None
    return host if host and not host.startswith("/") and "," not in host else None


def _prepare_sqlite(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    # Readers and a writer do not wait for each other. It is a property of the file, and suits Celery.
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _take_any_text(connection: Any, _: object) -> None:
    # Wrong bytes become surrogates.
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
