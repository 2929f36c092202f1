"""A repeated request is answered with the first one's mails; who publishes them, who takes over.

Of all copies of a request, over all processes, one publishes (``mine``), until the time that it
has given (``publisher_until``). If it dies before the confirm, a copy after that time takes over.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, delete, select, update

from ledger import rows, schema
from ledger.accept import enter
from ledger.values import NewEmail, Value

keys = schema.idempotency_keys


#: What a key is to the caller: ``mine``: he has to publish its mails, and nobody else does before
#: his ``publisher_until``; ``pending``: somebody else publishes them, or was to; ``published``;
#: ``reused``: it belongs to another request; ``not_admitted``: he may not send these mails, and
#: nothing was entered.
KeyState = Literal["mine", "pending", "published", "reused", "not_admitted"]


class Reserved(Value, frozen=True, kw_only=True):
    """What is known of a key; ``email_ids``: the mails that it stands for."""

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
    """Enter a key together with its mails, or return what it stands for.

    An unknown key, or one that is older than ``kept_s``, is the caller's, with the mails ``new``.
    A known one is answered with its first request's mails (they have their rows); it becomes the
    caller's, too, if its publisher has not published it in time.

    Args:
        admit: asked before the mails ``new`` are entered.
    """
    entry = {
        "body_hash": body_hash,
        "email_ids": rows.dumps([one.id for one in new]),
        "created_at": now,
        "publisher_until": publisher_until,
        "published_at": None,
    }
    while True:  # every further round means that somebody else has changed the key
        if rows.insert_new(connection, keys, [{"api_key": api_key, "key": key, **entry}]):
            break
        row = connection.execute(select(keys).where(*_is(api_key, key))).one_or_none()
        if row is None:
            continue  # pruned just now
        if row.created_at >= now - kept_s:
            known = _taken_over(connection, row, _known(row, body_hash), now, publisher_until)
            if known is not None:
                return known
        elif _change(connection, row, entry):
            break
    if admit is not None and not admit(connection):
        connection.execute(delete(keys).where(*_is(api_key, key)))
        return Reserved(state="not_admitted")
    enter(connection, new)
    return Reserved(state="mine", email_ids=tuple(one.id for one in new))


def _taken_over(
    connection: Connection, row: Row[Any], known: Reserved, now: float, publisher_until: float
) -> Reserved | None:
    """Return what a key stands for, taken over if its publisher's time is over; None if somebody
    else has just changed it."""
    if known.state != "pending" or row.publisher_until >= now:
        return known
    if not _change(connection, row, {"publisher_until": publisher_until}):
        return None
    return Reserved(state="mine", email_ids=known.email_ids)


def find(
    connection: Connection, api_key: str, key: str, body_hash: bytes, *, since: float
) -> Reserved | None:
    """Return what a key stands for, if it was entered at ``since`` or later; change nothing."""
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
    """Return what a key stands for, to somebody who does not publish it."""
    state: KeyState = "pending" if row.published_at is None else "published"
    if row.body_hash != body_hash:
        state = "reused"
    return Reserved(state=state, email_ids=tuple(rows.loads(row.email_ids)))
