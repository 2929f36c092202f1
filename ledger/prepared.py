"""Statements that are compiled once and then handed to the driver: SQLAlchemy's own way from a
statement to a row takes several times as long as SQLite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy import ClauseElement, Connection, Dialect
from sqlalchemy.exc import DBAPIError

#: A statement's text, and the order of its values; None: the driver takes them by name.
Compiled = tuple[str, tuple[str, ...] | None]


class Prepared:
    """A statement whose values are all named parameters, of types that need no conversion by
    SQLAlchemy. It runs within the transaction of the given connection.

    Raises:
        DBAPIError: as SQLAlchemy's own execution does.
    """

    def __init__(self, statement: ClauseElement) -> None:
        self._statement = statement

    def rows(self, connection: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Return all rows."""
        cursor = self._run(connection, "execute", values)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        cursor.close()
        return found

    def run(self, connection: Connection, values: Mapping[str, Any]) -> None:
        """Run a statement that returns no rows."""
        self._run(connection, "execute", values).close()

    def run_all(self, connection: Connection, values: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement once for each set of values."""
        self._run(connection, "executemany", *values).close()

    def _run(self, connection: Connection, how: str, *values: Mapping[str, Any]) -> Any:
        text, order = _compiled(self._statement, connection.dialect)
        given = [tuple(each[name] for name in order) if order else each for each in values]
        cursor = connection.connection.cursor()
        try:
            getattr(cursor, how)(text, given if how == "executemany" else given[0])
        except connection.dialect.loaded_dbapi.Error as error:
            raise _translated(connection, error) from error
        return cursor


@cache
def _compiled(statement: ClauseElement, dialect: Dialect) -> Compiled:
    compiled: Any = statement.compile(dialect=dialect)
    return compiled.string, tuple(compiled.positiontup) if compiled.positional else None


def _translated(connection: Connection, error: Exception) -> Exception:
    """Return SQLAlchemy's error for a driver's. A dead connection empties the pool, as it does in
    SQLAlchemy: the server was probably restarted, so the other connections are dead, too."""
    dialect: Any = connection.dialect
    dead = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)
    if dead:
        connection.invalidate(error)
        connection.engine.dispose()  # closes the idle ones; the others close when returned
    found: Exception = DBAPIError.instance(
        None,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=dead,
        dialect=dialect,
    )
    return found
