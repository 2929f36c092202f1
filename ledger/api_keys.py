"""API keys and their daily quotas: entering, listing, changing, revoking, charging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    case,
    insert,
    or_,
    select,
    update,
)

from ledger import rows, schema
from ledger.prepared import Prepared
from ledger.values import Value

table = schema.api_keys

DAY_S = 86400
#: The columns that hold JSON.
LISTS = ("scopes", "domains")


class ApiKey(Value, frozen=True, kw_only=True):
    """A key's row, with the hash of the key, not the key. ``number`` counts keys from 1.

    ``rate``: such as ``20/s``; None: no limit. ``daily_recipients``: None: no limit.
    ``quota_used``: recipients charged on ``quota_day`` (days since 1970, UTC).
    ``old_hash``: of the key that was replaced last, which is valid until ``old_until``; None: none.
    """

    number: int
    id: str
    name: str
    hash: bytes
    scopes: tuple[str, ...]
    domains: tuple[str, ...]
    rate: str | None
    daily_recipients: int | None
    created_at: float
    revoked_at: float | None
    quota_day: int
    quota_used: int
    old_hash: bytes | None
    old_until: float | None

    def hashes_at(self, moment: float) -> tuple[bytes, ...]:
        """Return the hashes of the keys that are valid at a moment, in Unix seconds."""
        if self.revoked_at is not None:
            return ()
        if self.old_hash is None or self.old_until is None or self.old_until <= moment:
            return (self.hash,)
        return (self.hash, self.old_hash)


def day_of(moment: float) -> int:
    """Return the UTC day of a moment in Unix seconds, as days since 1970."""
    return int(moment // DAY_S)


def enter(
    connection: Connection,
    *,
    key_id: str,
    name: str,
    hashed: bytes,
    scopes: tuple[str, ...],
    domains: tuple[str, ...] = (),
    rate: str | None = None,
    daily_recipients: int | None = None,
    now: float,
) -> None:
    """Enter a new key."""
    values = {
        "id": key_id,
        "name": name,
        "hash": hashed,
        "scopes": rows.dumps(scopes),
        "domains": rows.dumps(domains),
        "rate": rate,
        "daily_recipients": daily_recipients,
        "created_at": now,
        "quota_day": 0,
        "quota_used": 0,
    }
    connection.execute(insert(table), values)


def known(connection: Connection) -> list[ApiKey]:
    """Return all keys that were ever made, revoked ones too, oldest first."""
    return [_key(row) for row in connection.execute(select(table).order_by(table.c.number))]


def change(connection: Connection, key_id: str, properties: Mapping[str, Any]) -> bool:
    """Change what a key may do, or its name; False if it is not there, or is revoked.

    Args:
        properties: some of ``name``, ``scopes``, ``domains``, ``rate``, ``daily_recipients``, as
            :func:`enter` takes them.
    """
    stored = {
        name: rows.dumps(value) if name in LISTS else value for name, value in properties.items()
    }
    return _change(connection, key_id, stored)


def rotate(
    connection: Connection, key_id: str, *, hashed: bytes, old_until: float | None
) -> ApiKey | None:
    """Replace a key by another one with the same id; return what it was, or None if it is not
    there, or is revoked.

    The replaced key stays valid until ``old_until`` (None: it does not, whatever a server's clock
    says); one that it had replaced does not.
    """
    lock(connection, key_id)
    row = connection.execute(select(table).where(table.c.id == key_id)).one_or_none()
    old_hash = None if old_until is None else table.c.hash
    values = {"hash": hashed, "old_hash": old_hash, "old_until": old_until}
    return _key(row) if row and _change(connection, key_id, values) else None


def revoke(connection: Connection, key_id: str, *, now: float) -> bool:
    """Revoke a key, and the one that it has replaced; False if it is not there, or is revoked."""
    return _change(connection, key_id, {"revoked_at": now})


def _change(connection: Connection, key_id: str, values: dict[str, Any]) -> bool:
    live = (table.c.id == key_id, table.c.revoked_at.is_(None))
    return connection.execute(update(table).where(*live).values(values)).rowcount == 1


#: Whether ``quota_used`` counts for today: ``quota_day`` is today, or tomorrow if another machine's
#: clock is ahead. A later day came from a wrong clock, and would block the key until then.
_COUNTS = table.c.quota_day.between(bindparam("today"), bindparam("today") + 1)
_USED = case((_COUNTS, table.c.quota_used), else_=0)
_TODAY: ColumnElement[int] = case((_COUNTS, table.c.quota_day), else_=bindparam("today"))
_CHARGE = (
    update(table)
    .where(
        table.c.id == bindparam("of_key"),
        # No limit: it was just taken away, and the server does not know that yet.
        or_(
            table.c.daily_recipients.is_(None),
            _USED + bindparam("recipients") <= table.c.daily_recipients,
        ),
    )
    .values(quota_day=_TODAY, quota_used=_USED + bindparam("recipients"))
)
_REFUND = (
    update(table)
    .where(table.c.id == bindparam("of_key"), table.c.quota_day == bindparam("today"))
    .values(quota_used=table.c.quota_used - bindparam("recipients"))
)


class Charge(Value, frozen=True, kw_only=True):
    """What is counted for mails on a day (:func:`day_of`) against a key's daily quota."""

    key_id: str
    recipients: int
    today: int

    def values(self) -> dict[str, Any]:
        return {"of_key": self.key_id, "recipients": self.recipients, "today": self.today}


_LOCK = Prepared(select(table.c.id).where(table.c.id == bindparam("of_key")).with_for_update())


def lock(connection: Connection, key_id: str) -> None:
    """Lock a key's row until the transaction's end (SQLite has locked the whole database)."""
    _LOCK.rows(connection, {"of_key": key_id})


def charge(connection: Connection, asked: Charge) -> bool:
    """Count recipients against a key's daily quota; False, and nothing counted, if they would
    exceed it. Exact over all processes: the database decides."""
    return connection.execute(_CHARGE, asked.values()).rowcount == 1


def charge_each(connection: Connection, asked: Sequence[Charge]) -> list[bool]:
    """Do for several requests what :func:`charge` does; those of one key and day cost as much as
    one, unless its quota ends among them."""
    if len({(one.key_id, one.today) for one in asked}) == 1:
        total = sum(one.recipients for one in asked)
        if charge(connection, msgspec.structs.replace(asked[0], recipients=total)):
            return [True] * len(asked)
    return [charge(connection, one) for one in asked]


def refund(connection: Connection, charged: Charge) -> None:
    """Take back what was charged for mails that were certainly not queued."""
    connection.execute(_REFUND, charged.values())


def _key(row: Row[Any]) -> ApiKey:
    columns = {column.name: getattr(row, column.name) for column in table.c}
    for name in LISTS:
        columns[name] = tuple(rows.loads(columns[name]))
    return ApiKey(**columns)
