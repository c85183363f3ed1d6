"""
The drivers' errors, and our error for each.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import exc

from coatcheck.errors import (
    BackendError,
    BackendGetMetaError,
    BackendStoreError,
    BackendUnavailableError,
)
from coatcheck.plugin import without_users

#: PostgreSQL's SQLSTATEs for "not now": serialisation, deadlock, shutdown, too many connections, a lock that
#: took too long, a server that is read-only after a failover, a table that two processes create.
_STATES: Final = frozenset(
    {
        "40001", "40P01", "57P01", "57P02", "57P03", "53300", "55P03", "25006", "23505", "42P07",
        "57014",
    }
)  # fmt: skip
#: Classes of them: the connection, and operator intervention in it.
_STATE_CLASSES: Final = ("08",)
#: The user, the password, or a missing right.
_REFUSED_STATES: Final = frozenset({"28000", "28P01", "42501", "3D000"})
#: The same for MySQL and MariaDB: connections, shutdown, locks, deadlock, read only.
_CODES: Final = frozenset(
    {1040, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1203, 1205, 1213, 1290, 1317, 1836, 1927,
     1969, 2002, 2003, 2006, 2013, 2055, 3024, 4031}
)  # fmt: skip
_REFUSED_CODES: Final = frozenset({1044, 1045, 1049, 1142, 1143, 1227, 1410})
_AUTHENTICATION: Final = (
    "authentication failed", "no password supplied", "no pg_hba.conf entry", "certificate",
    'role "', 'database "',
)  # fmt: skip


#: No such table or column, by PostgreSQL and by MySQL.
_GONE_STATES: Final = frozenset({"42P01", "42703", "0A000"})
_GONE_CODES: Final = frozenset({1146, 1054})


class Unfit(Exception):  # noqa: N818 - it is a state of affairs
    """The tables cannot hold records. The text tells the way out."""


#: The errors of drivers and SQLAlchemy, and our own.
Errors: Final = (exc.SQLAlchemyError, OSError, Unfit)


def _driver_error(error: BaseException) -> BaseException:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig else error


def _is_operational(error: BaseException) -> bool:
    # By name: every driver has its own, and their subclasses.
    return any(k.__name__ == "OperationalError" for k in type(_driver_error(error)).__mro__)


def state_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of PostgreSQL, if *error* has one."""
    orig = _driver_error(error)
    if code_of(error) is not None:
        return None  # MySQL's own numbers say more
    found = getattr(orig, "sqlstate", None) or getattr(orig, "pgcode", None)
    return found if isinstance(found, str) else None


def code_of(error: BaseException) -> int | None:
    """Return MySQL's number of *error*, if it has one."""
    args = getattr(_driver_error(error), "args", ())
    return args[0] if args and isinstance(args[0], int) else None


def is_refused(error: BaseException) -> bool:
    """Return whether the server refuses this user."""
    state = state_of(error)
    if state is not None:
        return state in _REFUSED_STATES
    text = str(_driver_error(error))
    connecting = _is_operational(error) and any(t in text for t in _AUTHENTICATION)
    return connecting or code_of(error) in _REFUSED_CODES


def is_schema_gone(error: BaseException) -> bool:
    """Return whether the tables changed since they were looked up."""
    state = state_of(error)
    if state is not None:
        return state in _GONE_STATES  # the last one: a prepared statement of other columns
    if code_of(error) in _GONE_CODES:
        return True
    text = str(_driver_error(error))
    return _is_operational(error) and text.startswith(("no such ", "table "))


def is_transient(error: BaseException) -> bool:
    """Return whether the same operation may succeed in a moment."""
    if is_refused(error) or isinstance(error, Unfit):
        return False
    # The last one: its connection was lost meanwhile.
    if isinstance(error, (OSError, exc.TimeoutError, exc.InvalidRequestError)):
        return True
    state, code = state_of(error), code_of(error)
    if state is not None:
        return state in _STATES or state.startswith(_STATE_CLASSES)
    return is_lost(error) or code in _CODES or (code is None and _is_passing(error))


def is_garbled(error: BaseException) -> bool:
    """Return whether a row in SQLite holds text that is not UTF-8."""
    return str(_driver_error(error)).startswith("Could not decode to UTF-8")


def is_lost(error: BaseException) -> bool:
    """Return whether the connection is broken."""
    return isinstance(error, exc.DBAPIError) and error.connection_invalidated


def _is_passing(error: BaseException) -> bool:
    text, driver = str(_driver_error(error)), type(_driver_error(error)).__module__
    if driver == "sqlite3":
        return text == "interrupted" or "locked" in text or "busy" in text
    # psycopg's errors without a state are those of connecting and of a lost connection.
    return _is_operational(error)


def _said(error: BaseException) -> str:
    """Return the message of the server or the driver, without the user's name and the statement."""
    driver = _driver_error(error)
    primary = getattr(getattr(driver, "diag", None), "message_primary", None)
    return without_users(primary or str(driver))


def cause_of(error: BaseException) -> BaseException:
    """Return the driver's own error, which shows no statement; a copy if it names the user."""
    driver = _driver_error(error)
    text = str(driver)
    masked = without_users(text)
    if masked == text:
        return driver
    code = code_of(driver)
    return type(driver)(masked) if code is None else type(driver)(code, masked)


def mapped(error: BaseException, label: str, *, writing: bool) -> BackendError:
    """Return our error for the driver's. The message names the database."""
    if isinstance(error, Unfit):
        return _refusal(f"{label}: {error}", writing=writing)
    message = f"{label}: {_said(error)}"
    if state_of(error) == "42501" or code_of(error) in (1142, 1143):
        return _refusal(message, writing=writing)
    if is_refused(error):
        return BackendUnavailableError(f"{label} refuses the user or the password: {message}")
    return (
        BackendUnavailableError(message)
        if is_transient(error)
        else _refusal(message, writing=writing)
    )


def _refusal(message: str, *, writing: bool) -> BackendError:
    return BackendStoreError(message) if writing else BackendGetMetaError(message)
