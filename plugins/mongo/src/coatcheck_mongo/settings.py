"""
The servers, the collections and the driver's options that a URL names. No I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from pymongo import errors, uri_parser
from pymongo.common import validate

from coatcheck.errors import ConfigurationError
from coatcheck.plugin import MASK, URL, boolean, read_options

_NOT_IN_DATABASES: Final = '\0 "$./\\'
DATABASE: Final = "celery"
TASKS: Final = "celery_taskmeta"
GROUPS: Final = "celery_groupmeta"
#: Events a second for other tasks, above which polling costs less than listening.
PUSH_LIMIT: Final = 2_000.0


def _name(value: Any) -> str:
    text = str(value)
    if not text or "\0" in text or "$" in text or text.startswith(".") or ".." in f"{text}.":
        raise ValueError("use a name without $, and with dots only within it")
    return text


def _database(value: Any) -> str:
    text = str(value)
    if not text or any(letter in text for letter in _NOT_IN_DATABASES):
        raise ValueError("use a name without blanks, quotes, slashes, dots and $")
    return text


def _rate(value: Any) -> float:
    number = float(value)
    if not number > 0:
        raise ValueError("use a number of events a second")
    return number


#: Our options; the first three have the names of Celery's `mongodb_backend_settings`.
_OPTIONS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "database": _database,
    "taskmeta_collection": _name,
    "groupmeta_collection": _name,
    "push": boolean,
    "push_limit": _rate,
}
#: Options of the driver that we set ourselves.
_TAKEN: Final = frozenset(
    {"host", "port", "connect", "document_class", "tz_aware", "type_registry", "event_listeners"}
)


class Settings:
    """The place of the records, and the options for the driver."""

    def __init__(
        self, url: URL, options: Mapping[str, Any], *, operation_timeout: float = 5.0
    ) -> None:
        self.where = f"{url.scheme}://"
        given = {**url.query, **options}
        ours = {name: given.pop(name) for name in list(given) if name in _OPTIONS}
        read = read_options(ours, _OPTIONS, where=self.where)
        info, at, place = url.rest.rpartition("@")
        hosts, _, database = place.partition("/")
        #: As the URL writes them, some with a port.
        self.hosts = (hosts or "localhost").split(",")
        #: For the driver. It would look the user up in a database in the path, so there is no path.
        self.uri = f"{url.scheme}://{info}{at}{hosts or 'localhost'}/"
        self.database: str = read.pop("database", None) or self._named_in(url, database)
        self.tasks: str = read.pop("taskmeta_collection", TASKS)
        self.groups: str = read.pop("groupmeta_collection", GROUPS)
        #: Whether to use change streams if the servers offer them.
        self.push: bool = read.pop("push", True)
        self.push_limit: float = read.pop("push_limit", PUSH_LIMIT)
        #: The driver's options as the user wrote them, by their names in small letters.
        self.driver: dict[str, Any] = {}
        checked = self._checked(given)
        #: The driver's `timeoutMS` bounds this as well.
        self.operation_timeout = min(operation_timeout, checked.get("timeoutms") or float("inf"))
        #: Whether an acknowledged record survives a failover.
        self.durable = checked.get("w", "majority") == "majority"
        if checked.get("w") == 0:
            raise ConfigurationError(
                f"{self.where}: with w=0 nobody learns whether a record was stored: use majority, or 1"
            )
        self._set_defaults()
        self.label = f"{hosts or 'localhost'}/{self.database}"
        if url.scheme == "mongodb":
            self._check_hosts()

    def _named_in(self, url: URL, path: str) -> str:
        """
        Return the database that the path of the URL names. The driver reads text after a dot as a collection;
        Celery ignores it.
        """
        name = unquote(path).partition(".")[0]
        try:
            return _database(name) if path else DATABASE
        except ValueError as error:
            raise ConfigurationError(f"{url}: the database's name: {error}") from None

    def _checked(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """
        Keep the driver's options, and return the driver's reading of them. Errors show no values: they may be
        secrets.
        """
        checked = {}
        for name, value in given.items():
            if name.lower() in _TAKEN:
                raise ConfigurationError(f"{self.where} sets the driver's option {name!r} itself")
            try:
                checked[name.lower()] = validate(name, value)[1]
                self.driver[name.lower()] = value
            except (errors.ConfigurationError, ValueError, TypeError, OSError) as error:
                reason = str(error).replace(repr(value), MASK).replace(str(value) or MASK, MASK)
                raise ConfigurationError(f"the option {name!r} of {self.where}: {reason}") from None
        return checked

    def _set_defaults(self) -> None:
        driver = self.driver
        driver.pop("timeoutms", None)
        driver.setdefault("w", "majority")
        driver.setdefault("readconcernlevel", "majority" if self.durable else "local")
        # Monitors that connect to a silent host need not try for longer.
        driver.setdefault("connecttimeoutms", max(int(self.operation_timeout * 1000), 1))
        driver.setdefault("appname", "coatcheck")
        # We repeat ourselves: a record recognises itself, so that is safe. The driver repeats without a pause,
        # which would hold up an event loop.
        driver.setdefault("retrywrites", False)
        driver.setdefault("retryreads", False)

    def _check_hosts(self) -> None:
        try:
            uri_parser.parse_uri(self.uri)
        except (errors.PyMongoError, ValueError):
            # The reason is not shown: it may contain a part of a password.
            raise ConfigurationError(
                f"{self.where}: the hosts cannot be read; write mongodb://user:password@host:port,"
                "host:port/database, with special characters in user and password as %XX"
            ) from None
