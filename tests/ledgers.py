"""Ledgers and their mails for tests."""

from __future__ import annotations

import itertools
import time
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select

from ledger import NewEmail, Reservation, To, schema

_numbers = itertools.count(1)

NOW = 1_800_000_000.0


def recipients(*addresses: str) -> tuple[To, ...]:
    return tuple(To(kind="to", mailbox=address, address=address) for address in addresses)


def new_email(**changes: Any) -> NewEmail:
    """Return a mail to one recipient; the ids of later ones are greater, in every process."""
    plain = NewEmail(
        id=f"{time.time_ns():020}-{next(_numbers):06}",
        api_key="team",
        sender="Shop <shop@a.example>",
        subject="Your order",
        recipients=recipients("ann@b.example"),
        created_at=NOW,
        expires_at=NOW + 3600,
    )
    return msgspec.structs.replace(plain, **changes)


def reservation(key: str, *new: NewEmail, **changes: Any) -> Reservation:
    """Return a team's request with an idempotency key, which it may publish for 30 s."""
    plain = Reservation(
        api_key="team", key=key, body_hash=b"a" * 32, new=new, lease_s=30, kept_s=86400
    )
    return msgspec.structs.replace(plain, **changes)


def ids(connection: Connection) -> set[str]:
    return set(connection.execute(select(schema.emails.c.id)).scalars())


def count(connection: Connection, table: str) -> int:
    found = select(func.count()).select_from(schema.metadata.tables[table])
    return int(connection.execute(found).scalar_one())


def transaction_of(connection: Connection) -> Any:
    return connection.get_transaction()
