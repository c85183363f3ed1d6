"""
The server's own limits of time.

An operation that gives up closes its connection, but a server that waits for a lock does not notice. The
session would stay until the lock is free. So the server gets limits of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import sqlalchemy as sa

from .wire import Statement

#: The server waits for one lock during this part of an operation's time: less than the first try has.
_LOCK: Final = 0.35
#: The part of an operation's time that is kept for giving up in good order.
GIVING_UP: Final = 0.05

#: Has the server send text in the database's own encoding.
SPEAK: Final = Statement("SELECT set_config('client_encoding', :letters, false)")
#: Limits the session, if it is ours. A pooler answers the login itself, and lends sessions that others use in
#: between.
LIMIT_SESSION: Final = Statement(
    "SELECT CASE WHEN pg_backend_pid() = CAST(:pid AS integer) THEN "
    "set_config('statement_timeout', :statement, false) IS NOT NULL "
    "AND set_config('lock_timeout', :lock, false) IS NOT NULL ELSE false END AS own",
    {"own": "boolean"},
)
#: Limits the transaction that is under way.
LIMIT_TRANSACTION: Final = Statement(
    "SELECT set_config('statement_timeout', :statement, true), "
    "set_config('lock_timeout', :lock, true)"
)


class Limits(NamedTuple):
    """The server's limits, in seconds."""

    #: For one statement.
    statement: float
    #: For one lock.
    lock: float
    #: How long an operation takes to give up.
    giving_up: float

    @classmethod
    def of(cls, operation_timeout: float) -> Limits:
        """Return the limits for operations that may take *operation_timeout* seconds."""
        return cls(operation_timeout, operation_timeout * _LOCK, operation_timeout * GIVING_UP)

    @property
    def mysql(self) -> str:
        """
        The first statement of a connection to MariaDB or MySQL. Each comment is for one of them. MySQL ends only
        reads, so its locks have limits of their own.
        """
        seconds = min(self.lock, 31_536_000.0)
        whole = max(int(seconds), 1)
        return (
            "SET SESSION /*M! tx_isolation = 'READ-COMMITTED', "
            f"max_statement_time = {max(seconds, 0.001):.3f} */ "
            "/*!50720 transaction_isolation = 'READ-COMMITTED', "
            f"max_execution_time = {max(round(seconds * 1000), 1)}, "
            f"lock_wait_timeout = {whole}, innodb_lock_wait_timeout = {whole} */"
        )

    @property
    def values(self) -> dict[str, str]:
        """The values of both statements above, in milliseconds; 0 would mean no limit."""
        pairs = (("statement", self.statement), ("lock", self.lock))
        return {name: str(min(max(round(seconds * 1000), 1), 2**31 - 1)) for name, seconds in pairs}


@contextmanager
def limited(connection: sa.Connection) -> Iterator[None]:
    """
    Keep to the limits by a transaction if the session belongs to a pooler. After an error the connection is
    not usable.
    """
    script = beginning(connection)
    if script is None:
        yield
        return
    connection.exec_driver_sql(script)
    yield
    connection.exec_driver_sql("COMMIT")


def beginning(connection: sa.Connection) -> str | None:
    """
    Return the statement that begins a transaction with limits of its own, or `None` if the session has them.
    """
    limits = getattr(connection.connection.driver_connection, "local_limits", None)
    if limits is None:
        return None
    return "BEGIN; " + "; ".join(
        f"SET LOCAL {name}_timeout = {value}" for name, value in limits.values.items()
    )
