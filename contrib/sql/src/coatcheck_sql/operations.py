"""
Operations as data, and how SQLAlchemy runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import sqlalchemy as sa

from .wire import Statement

T = TypeVar("T")
#: The values of a row, by column.
Row = dict[str, Any]


class Ask(NamedTuple, Generic[T]):
    """
    One statement, its values, and a function that turns the rows of the answer into the result. A
    statement that returns no rows answers with an empty one for each row that it changed.
    """

    statement: Statement
    given: Mapping[str, Any]
    answer: Callable[[list[Row]], T]


class Together(NamedTuple, Generic[T]):
    """
    Several statements, and a function that turns their answers into the result. More than one run in a
    transaction.
    """

    asks: Sequence[Ask[Any]]
    join: Callable[[list[Any]], T]
    #: The statement that begins the transaction.
    begin: str = "START TRANSACTION"


Operation = Ask[T] | Together[T]


def run(connection: sa.Connection, operation: Operation[T]) -> T:
    """
    Run *operation* on a connection in autocommit. After an error the caller must discard the connection.
    """
    if isinstance(operation, Ask):
        answer: T = _ask(connection, operation)
        return answer
    many = len(operation.asks) > 1
    if many:
        connection.exec_driver_sql(operation.begin)
    answers: list[Any] = [_ask(connection, ask) for ask in operation.asks]
    if many:
        connection.exec_driver_sql("COMMIT")
    joined: T = operation.join(answers)
    return joined


def _ask(connection: sa.Connection, ask: Ask[T]) -> T:
    result = connection.execute(ask.statement.clause, ask.given)
    if not result.returns_rows:
        return ask.answer([{}] * result.rowcount)
    names = tuple(result.keys())
    return ask.answer([dict(zip(names, row, strict=True)) for row in result])
