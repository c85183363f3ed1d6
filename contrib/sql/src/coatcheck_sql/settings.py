"""
A URL's settings for the database, its tables and its connections. No I/O.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from coatcheck.errors import ConfigurationError, PluginError
from coatcheck.plugin import CORE_OPTIONS, URL, boolean, read_options

from . import driving
from .dialect import Dialect
from .dialects import DIALECTS

#: Celery's prefixes of URLs.
_PREFIXES: Final = ("db+", "database+")
#: Our driver of each dialect, unless the URL names one.
_DRIVERS: Final = {"postgresql": "psycopg", "mysql": "pymysql", "mariadb": "pymysql"}
#: The extra of this distribution that brings it.
_EXTRAS: Final = {"psycopg": "postgresql", "pymysql": "mysql"}
#: Drivers that need an event loop.
_ASYNC_ONLY: Final = frozenset({"asyncpg", "psycopg_async", "aiomysql", "asyncmy", "aiosqlite"})
_LONGEST_NAME: Final = 63
#: The time zone of this machine.
LOCAL: Final = "local"
#: Options of SQLAlchemy's engine that users may not set: every statement is a transaction of its own, and
#: connections keep to a deadline.
RESERVED: Final = frozenset(
    {
        "isolation_level", "skip_autocommit_rollback", "creator", "async_creator", "pool",
        "poolclass", "pool_reset_on_return", "hide_parameters", "execution_options",
    }
)  # fmt: skip


def _count(value: Any) -> int:
    number = int(value)
    if number < 1:
        raise ValueError("use a number from 1 on")
    return number


def _name(value: Any) -> str:
    text = str(value)
    if not text.isidentifier() or not text.isascii() or len(text) > _LONGEST_NAME:
        raise ValueError("use letters, digits and _")
    return text


def _zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    try:
        if value == LOCAL and "TZ" not in os.environ:
            with Path("/etc/localtime").open("rb") as file:
                return ZoneInfo.from_file(file)
        return ZoneInfo(os.environ["TZ"].lstrip(":") if value == LOCAL else str(value))
    except (LookupError, OSError, ValueError):
        raise ValueError("use the name of a time zone, such as Europe/Berlin") from None


def _for_engine(value: Any) -> dict[str, Any]:
    options = dict(value)
    reserved = sorted(RESERVED & set(options))
    if reserved:
        raise ValueError(f"leave out {', '.join(reserved)}, which operations rely on")
    return options


#: Our options, with their readers. All others in a URL's query are the driver's.
_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "max_connections": _count,
    "push": boolean,
    "listen_url": str,
    "prepare": boolean,
    "migrate": boolean,
    "task_table": _name,
    "group_table": _name,
    "task_schema": _name,
    "group_schema": _name,
    "timezone": _zone,
    "engine_options": _for_engine,
}


class Settings:
    """Where the records are, and how to get there."""

    def __init__(self, url: URL, options: Mapping[str, Any], *, operation_timeout: float) -> None:
        own = {name: value for name, value in url.query.items() if name in _OPTIONS}
        read = read_options({**own, **options}, _OPTIONS, where=f"{url.scheme}://")
        self.operation_timeout = operation_timeout
        self.url = _driven(_database_url(url), url)
        self.dialect = self._dialect_of(url)
        pooler, self.url = driving.without_pooler(self.url)
        driving.check(self.url, where=f"{url.scheme}://")
        self.max_connections: int = read.get("max_connections", 10)
        self.prepare: bool = read.get("prepare", not pooler)
        self.migrate: bool = read.get("migrate", True)
        self.tasks: str = read.get("task_table", "celery_taskmeta")
        self.groups: str = read.get("group_table", "celery_tasksetmeta")
        self.task_schema: str | None = read.get("task_schema")
        self.group_schema: str | None = read.get("group_schema")
        self.timezone: ZoneInfo = read.get("timezone", ZoneInfo("UTC"))
        self.engine_options: dict[str, Any] = read.get("engine_options", {})
        listen_url = read.get("listen_url")
        #: The place to listen, or `None` if waits poll.
        self.listen: sa.URL | None = None
        if self.dialect.name == "postgresql" and read.get("push", True) and find_spec("psycopg"):
            self.listen = _database_url(URL(listen_url)) if listen_url else self.url
        if self.tasks == self.groups and self.task_schema == self.group_schema:
            raise ConfigurationError(f"{url}: task_table and group_table have to be two tables")

    def _dialect_of(self, url: URL) -> Dialect:
        name = self.url.get_backend_name()
        dialect = DIALECTS.get(name)
        if dialect is None:
            raise ConfigurationError(
                f"{url}: the first ready record is decided by statements of PostgreSQL, MariaDB, "
                f"MySQL and SQLite; there are none for {name}"
            )
        if dialect.is_file and self.url.database in (None, "", ":memory:"):
            raise ConfigurationError(
                f"{url} names no file: write db+sqlite:///relative.db or db+sqlite:////absolute.db "
                "(for records in memory: memory://)"
            )
        return dialect

    @property
    def native_asyncio(self) -> bool:
        """Whether the driver supports asyncio."""
        return self.url.drivername == "postgresql+psycopg"

    @property
    def label(self) -> str:
        """The place of the database, for messages."""
        if self.dialect.is_file:
            return str(self.url.database)
        host, port = self.url.host or self.url.query.get("host", "localhost"), self.url.port
        several, ports = self.url.query.get("host"), self.url.query.get("port")
        if isinstance(several, str) and isinstance(ports, str):
            pairs = zip(several.split(","), ports.split(","), strict=False)
            host = ",".join(f"{name}:{number}" for name, number in pairs)
        place = f"{host}:{port}" if port else f"{host}"
        return f"{place}/{self.url.database or ''}"


def _database_url(url: URL) -> sa.URL:
    """Return SQLAlchemy's URL, without the options that are ours."""
    text = url.raw
    for prefix in _PREFIXES:
        if text.lower().startswith(prefix):
            text = text[len(prefix) :]
            break
    scheme, colon, rest = text.partition("://")
    dialect, plus, driver = scheme.lower().partition("+")
    if dialect == "postgres":  # as Heroku and libpq call it
        text = f"postgresql{plus}{driver}{colon}{rest}"
    if text == url.raw and url.scheme in ("db", "database"):
        raise ConfigurationError(
            f"{url}: write SQLAlchemy's URL behind db+, such as db+postgresql://localhost/app"
        )
    try:
        text, hosts = driving.without_hosts(text)
        made = make_url(text)
    except (ArgumentError, ValueError):
        raise ConfigurationError(
            f"{url} is not a URL of SQLAlchemy: write dialect+driver://user:password@host/database, "
            "with special characters in the password as %XX"
        ) from None
    made = made.update_query_dict(hosts)
    return made.difference_update_query([*CORE_OPTIONS, *_OPTIONS])


def _driven(made: sa.URL, url: URL) -> sa.URL:
    """Return *made* with a driver that is installed and works without an event loop."""
    dialect, _, driver = made.drivername.partition("+")
    ours = _DRIVERS.get(dialect)
    if driver in _ASYNC_ONLY:
        instead = f"{dialect}+{ours}" if ours else dialect
        raise ConfigurationError(f"{url}: {driver} works on event loops only; write {instead}")
    if not driver and ours is not None and find_spec(ours) is not None:
        made = made.set(drivername=f"{dialect}+{ours}")
    try:
        made.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise ConfigurationError(f"{url}: SQLAlchemy has no such dialect or driver") from None
    except ImportError as error:
        extra = f"pip install 'coatcheck-sql[{_EXTRAS[ours]}]'" if ours else ""
        if extra and driver and driver != ours:
            extra = f"install it, or write {dialect}+{ours}:// and {extra}"
        way_out = f" ({extra})" if extra else ""
        raise PluginError(f"{url}: its driver is not installed: {error}{way_out}") from error
    return made
