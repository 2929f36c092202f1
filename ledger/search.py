"""Finds the mails that pass all filters, newest first; in steps, so that it reads few rows.

In one query SQLite would read all mails of a key or tag for each page, since it does not know how
many there are; PostgreSQL estimates the numbers, and may be wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, Row, Select, and_, select

from ledger import schema

emails = schema.emails

#: How many mails of a filter the first step reads at most. Each further step reads twice as many,
#: since many are needed where each filter passes many mails, but few mails pass all.
STEP = 1000
LONGEST_STEP = 16_000


class Filter(NamedTuple):
    """Passes a mail if a row with its id fulfils the conditions. ``id``: the column of mails' ids
    in the table of these rows; ``in_order``: an index has the rows in the order of these ids."""

    id: Column[str]
    conditions: tuple[ColumnElement[bool], ...] = ()
    in_order: bool = True

    def ids(self, before: str | None) -> Select[str]:
        """Return a query for the ids of the mails that pass and are older than ``before``."""
        older = () if before is None else (self.id < before,)
        return select(self.id).where(*self.conditions, *older).correlate(None)

    def of_mail(self) -> ColumnElement[bool]:
        """Return the filter as a condition on a row of ``emails``."""
        if self.id.table is emails:
            return and_(*self.conditions)
        rows_of_mail = select(self.id).where(self.id == emails.c.id, *self.conditions)
        # Without OFFSET, PostgreSQL reads all rows that fulfil the conditions, to join them.
        return rows_of_mail.correlate(emails).offset(0).exists()


def newest(
    connection: Connection,
    columns: Sequence[ColumnElement[Any]],
    filters: Sequence[Filter],
    before: str | None,
    limit: int,
) -> list[Row[Any]]:
    """Return up to ``limit`` rows of mails that pass all filters, the newest first.

    Each step asks of each filter how old its ``step``-th newest mail is. Where that is oldest, the
    filter passes the fewest mails. The step reads its mails, and keeps those that pass the others.
    """
    leaders = [one for one in filters if one.in_order] or [Filter(emails.c.id)]
    found: list[Row[Any]] = []
    step = STEP
    while len(found) < limit:
        ends = [_end(connection, one, before, step) for one in leaders]
        end = min(ends)
        leader = leaders[ends.index(end)]
        query = select(*columns).where(
            emails.c.id.in_(leader.ids(before).where(leader.id >= end)),
            *(one.of_mail() for one in filters if one is not leader),
        )
        newest_first = query.order_by(emails.c.id.desc()).limit(limit - len(found))
        found += connection.execute(newest_first)
        if not end:
            break
        before, step = end, min(2 * step, LONGEST_STEP)
    return found


def _end(connection: Connection, one: Filter, before: str | None, step: int) -> str:
    """Return the id of the ``step``-th newest mail before ``before``; empty if there are fewer."""
    last = one.ids(before).order_by(one.id.desc()).offset(step - 1).limit(1)
    return connection.scalar(last) or ""


def sent_to(address: str) -> Filter:
    """Return a filter for mails to a bare address; its domain in upper or lower case."""
    table = schema.recipients
    local, at, domain = address.rpartition("@")
    return Filter(table.c.email_id, (table.c.address == local + at + domain.lower(),))


def tagged(connection: Connection, tag: str) -> Filter:
    """Return a filter for mails with a tag, ``name`` or ``name:value``."""
    table = schema.tags
    name, colon, value = tag.partition(":")
    named = table.c.name == name
    if colon:
        return Filter(table.c.email_id, (named, table.c.value == value))
    few = connection.scalars(select(table.c.email_id).where(named).limit(STEP)).all()
    if len(few) < STEP:
        return Filter(emails.c.id, (emails.c.id.in_(few),))
    return Filter(table.c.email_id, (named,), in_order=False)  # the index is in the order of values
