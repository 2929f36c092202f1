"""Idempotency keys: a repeated request is answered with the mails of the first one.

Of all copies of a request, in all processes, one publishes the mails (``mine``), until the time
``publisher_until``. If it dies before the confirm, a copy that comes after that time publishes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from ledger import rows, schema
from ledger.accept import enter
from ledger.values import NewEmail, Value

keys = schema.idempotency_keys


#: ``mine``: this caller has to publish the key's mails, and no other copy does before
#: ``publisher_until``; ``pending``: another copy was to publish them, and no confirm is
#: recorded; ``published``; ``reused``: the key was used for another request; ``not_admitted``:
#: ``admit`` returned False, and nothing was entered.
KeyState = Literal["mine", "pending", "published", "reused", "not_admitted"]


class Reserved(Value, frozen=True, kw_only=True):
    """A key's state; ``email_ids``: the mails of its first request."""

    state: KeyState
    email_ids: tuple[str, ...] = ()


def reserve(
    connection: Connection,
    api_key: str,
    key: str,
    body_hash: bytes,
    new: Sequence[NewEmail],
    *,
    now: float,
    publisher_until: float,
    kept_s: float,
    admit: Callable[[Connection], bool] | None = None,
) -> Reserved:
    """Enter a key together with its mails, or return the state of a known key.

    An unknown key, or one older than ``kept_s``, is entered with the mails ``new``, and is
    ``mine``. For a known key, the ids of its first request's mails are returned; it becomes
    ``mine``, too, if ``publisher_until`` is past and the mails are not published.

    Args:
        admit: called before the mails ``new`` are entered; False: they may not be sent.
    """
    entry = {
        "body_hash": body_hash,
        "email_ids": rows.dumps([one.id for one in new]),
        "created_at": now,
        "publisher_until": publisher_until,
        "published_at": None,
    }
    while True:  # repeats only if another process has changed the key meanwhile
        if rows.insert_new(connection, keys, [{"api_key": api_key, "key": key, **entry}]):
            return _with_mails(connection, api_key, key, new, admit)
        row = connection.execute(select(keys).where(*_is(api_key, key))).one_or_none()
        if row is None:
            continue  # pruned just now
        if row.created_at < now - kept_s:
            if _change(connection, row, entry):
                return _with_mails(connection, api_key, key, new, admit)
            continue
        known = _taken_over(connection, row, _known(row, body_hash), now, publisher_until)
        if known is not None:
            return known


def _with_mails(
    connection: Connection,
    api_key: str,
    key: str,
    new: Sequence[NewEmail],
    admit: Callable[[Connection], bool] | None,
) -> Reserved:
    """Enter the mails of a key that was entered just now, if they may be sent."""
    if admit is not None and not admit(connection):
        connection.execute(delete(keys).where(*_is(api_key, key)))
        return Reserved(state="not_admitted")
    enter(connection, new)
    return Reserved(state="mine", email_ids=tuple(one.id for one in new))


def _taken_over(
    connection: Connection, row: Row[Any], known: Reserved, now: float, publisher_until: float
) -> Reserved | None:
    """Return a known key's state, ``mine`` if its publisher's time is over; None if another process
    has just changed the key."""
    if known.state != "pending" or row.publisher_until >= now:
        return known
    if not _change(connection, row, {"publisher_until": publisher_until}):
        return None
    return Reserved(state="mine", email_ids=known.email_ids)


def find(
    connection: Connection, api_key: str, key: str, body_hash: bytes, *, since: float
) -> Reserved | None:
    """Return a key's state, if it was entered at ``since`` or later; change nothing."""
    known = (*_is(api_key, key), keys.c.created_at >= since)
    row = connection.execute(select(keys).where(*known)).one_or_none()
    return None if row is None else _known(row, body_hash)


def published(connection: Connection, api_key: str, key: str, now: float) -> None:
    """Record that a key's mails are in the queue: from now on nobody publishes them again."""
    open_key = (*_is(api_key, key), keys.c.published_at.is_(None))
    connection.execute(update(keys).where(*open_key).values(published_at=now))


def release(connection: Connection, api_key: str, key: str) -> None:
    """Let the next copy publish at once, because this publish was refused for certain.

    The mails keep their rows, which the next copy needs.
    """
    open_key = (*_is(api_key, key), keys.c.published_at.is_(None))
    connection.execute(update(keys).where(*open_key).values(publisher_until=0))


def _is(api_key: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return keys.c.api_key == api_key, keys.c.key == key


def _change(connection: Connection, row: Row[Any], values: dict[str, Any]) -> int:
    """Change a key if nobody has changed it since it was read; return 0 otherwise."""
    unchanged = (
        *_is(row.api_key, row.key),
        keys.c.created_at == row.created_at,
        keys.c.publisher_until == row.publisher_until,
        keys.c.published_at.is_not_distinct_from(row.published_at),
    )
    return connection.execute(update(keys).where(*unchanged).values(**values)).rowcount


def _known(row: Row[Any], body_hash: bytes) -> Reserved:
    """Return a key's state for a copy that does not publish it."""
    state: KeyState = "pending" if row.published_at is None else "published"
    if row.body_hash != body_hash:
        state = "reused"
    return Reserved(state=state, email_ids=tuple(rows.loads(row.email_ids)))
