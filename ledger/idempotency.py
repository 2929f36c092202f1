"""Idempotency keys: a repeated request is answered with the mails of the first one.

Of all copies of a request, in all processes, one publishes the mails (``mine``), until the time
``publisher_until``. If it dies before the confirm, a copy that comes after that time publishes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, select, update

from ledger import api_keys, rows, schema
from ledger.accept import enter
from ledger.api_keys import Charge
from ledger.prepared import Prepared
from ledger.values import NewEmail, Value

keys = schema.idempotency_keys

_PUBLISHED = Prepared(
    update(keys)
    .where(keys.c.api_key == bindparam("is_api_key"), keys.c.key == bindparam("is_key"))
    .values(published_at=bindparam("now"))
)

#: ``mine``: this caller has to publish the key's mails, and no other copy does before
#: ``publisher_until``; ``pending``: another copy was to publish them, and no confirm is
#: recorded; ``published``; ``reused``: the key was used for another request; ``not_admitted``:
#: the quota does not suffice, and nothing was entered.
KeyState = Literal["mine", "pending", "published", "reused", "not_admitted"]


class Reserved(Value, frozen=True, kw_only=True):
    """A key's state; ``email_ids``: the mails of its first request."""

    state: KeyState
    email_ids: tuple[str, ...] = ()


class Reservation(Value, frozen=True, kw_only=True):
    """A key to be reserved, with its mails; who publishes them has ``lease_s`` for that.

    ``charge``: what the mails cost.
    """

    api_key: str
    key: str
    body_hash: bytes
    new: Sequence[NewEmail]
    lease_s: float
    kept_s: float
    charge: Charge | None = None


def reserve(connection: Connection, asked: Reservation, now: float) -> Reserved:
    """Enter a key together with its mails, or return the state of a known key.

    An unknown key, or one older than ``kept_s``, is entered with the mails ``new``, and is
    ``mine``. For a known key, the ids of its first request's mails are returned; it becomes
    ``mine``, too, if ``publisher_until`` is past and the mails are not published.

    Mails that are entered are charged.
    """
    api_key, key = _name(asked)
    entry = _entry(asked, now)
    while True:  # repeats only if another process has changed the key meanwhile
        row = connection.execute(select(keys).where(*_is(api_key, key))).one_or_none()
        if row is None:
            if rows.insert_new(connection, keys, [{"api_key": api_key, "key": key, **entry}]):
                return _with_mails(connection, [asked])[0]
            continue
        if row.created_at < now - asked.kept_s:
            if _change(connection, row, entry):
                return _with_mails(connection, [asked])[0]
            continue
        known = _known(row, asked.body_hash)
        state = _taken_over(connection, row, known, now, entry["publisher_until"])
        if state is not None:
            return state


def reserve_each(connection: Connection, asked: Sequence[Reservation]) -> list[Reserved]:
    """Do for several keys what :func:`reserve` does."""
    now = time.time()  # here, so that waiting for the ledger costs no time of the leases
    ordered = sorted(asked, key=_name)  # two processes in different orders would deadlock
    entries = [{"api_key": one.api_key, "key": one.key, **_entry(one, now)} for one in ordered]
    entered = rows.insert_returning(connection, keys, entries, ("api_key", "key"))
    new = []
    for one in asked:
        if _name(one) in entered:
            entered.remove(_name(one))  # another copy in this group finds the first one's key
            new.append(one)
    outcomes = zip(new, _with_mails(connection, new), strict=True)
    found = {id(one): outcome for one, outcome in outcomes}
    rest = [one for one in ordered if id(one) not in found]
    found |= {id(one): reserve(connection, one, now) for one in rest}
    return [found[id(one)] for one in asked]


def _name(one: Reservation) -> tuple[str, str]:
    return one.api_key, one.key


def _entry(one: Reservation, now: float) -> dict[str, Any]:
    return {
        "body_hash": one.body_hash,
        "email_ids": rows.dumps([mail.id for mail in one.new]),
        "created_at": now,
        "publisher_until": now + one.lease_s,
        "published_at": None,
    }


def _with_mails(connection: Connection, asked: Sequence[Reservation]) -> list[Reserved]:
    """Charge and enter the mails of keys that were entered just now; forget a key whose mails cost
    too much."""
    charged = iter(api_keys.charge_each(connection, [one.charge for one in asked if one.charge]))
    admitted = [not one.charge or next(charged) for one in asked]
    entered = [one for one, is_admitted in zip(asked, admitted, strict=True) if is_admitted]
    enter(connection, [mail for one in entered for mail in one.new])
    return [
        _mine(one) if is_admitted else _forgotten(connection, one)
        for one, is_admitted in zip(asked, admitted, strict=True)
    ]


def _mine(asked: Reservation) -> Reserved:
    return Reserved(state="mine", email_ids=tuple(mail.id for mail in asked.new))


def _forgotten(connection: Connection, asked: Reservation) -> Reserved:
    connection.execute(delete(keys).where(*_is(*_name(asked))))
    return Reserved(state="not_admitted")


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


def published(connection: Connection, names: Sequence[tuple[str, str]]) -> list[None]:
    """Record that the mails of keys (an API key's id and the key) are in the queue: from now on
    nobody publishes them again."""
    now = time.time()
    given = [{"is_api_key": owner, "is_key": key, "now": now} for owner, key in sorted(names)]
    _PUBLISHED.run_all(connection, given)
    return [None] * len(names)


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
