"""Translates a database's errors: the database is unavailable, or cannot hold a value."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)

from ledger.errors import EntryRefused, LedgerUnavailable

#: PostgreSQL rolled the transaction back because of another one; run it again.
#: https://www.postgresql.org/docs/current/mvcc-serialization-failure-handling.html
ROLLED_BACK = frozenset({"40001", "40P01"})

#: This PostgreSQL takes no writes: after a failover, we may be connected to a standby.
READ_ONLY = "25006"

#: PostgreSQL knows no such table, or column.
#: https://www.postgresql.org/docs/current/errcodes-appendix.html
MISSING = frozenset({"42P01", "42703"})
TO_MIGRATE = (
    "The ledger's tables are missing, or older than this Windmail: `make migrate` makes them."
)


def translated(error: Exception) -> Exception:
    """Return the error to raise instead of a database's; other errors stay as they are.

    A database's message can quote rows, and so mail addresses. Only its first line is kept, and
    nothing of it where the error is about a value.
    """
    if isinstance(error, (DataError, IntegrityError)):
        return EntryRefused(f"{EntryRefused().detail} ({type(error.orig).__name__})")
    if isinstance(error, DBAPIError):
        if _sqlstate(error) in MISSING:
            return LedgerUnavailable(f"{TO_MIGRATE} ({type(error.orig).__name__})")
        return LedgerUnavailable(_shown(error.orig))
    if isinstance(error, sqlite3.Error):  # raised where a transaction begins
        return LedgerUnavailable(_shown(error))
    if isinstance(error, (StatementError, UnicodeError)):  # a value that no driver can encode
        return EntryRefused(f"{EntryRefused().detail} ({type(error).__name__})")
    if isinstance(error, SQLAlchemyError):
        return LedgerUnavailable(_shown(error))
    return error


def _shown(error: BaseException | None) -> str:
    first = (str(error).splitlines() or [""])[0]
    return f"{LedgerUnavailable().detail} ({type(error).__name__}: {first})"


def may_be_repeated(error: Exception) -> bool:
    """Whether a transaction that failed before its COMMIT was sent may succeed if it is run again
    at once: its connection was dead, or it was rolled back because of another transaction."""
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or _sqlstate(error) in ROLLED_BACK


def is_read_only(error: Exception) -> bool:
    """Whether the database takes no writes; a new connection may lead to one that does."""
    return isinstance(error, DBAPIError) and _sqlstate(error) == READ_ONLY


def _sqlstate(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
