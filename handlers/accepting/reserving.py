"""Reserves the idempotency key of a request, together with its mails."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy import Connection

from handlers.accepting.quota import Quota
from ledger import Ledger, Reservation, Reserved, idempotency

#: How often a copy of a request looks whether another process has published its mails.
POLL_S = 0.05


async def reserve(ledger: Ledger, asked: Reservation, quota: Quota, order: str) -> Reserved:
    """Return the key's state; while another copy of the request publishes, wait.

    Raises:
        QuotaExceeded, LedgerUnavailable: nothing was reserved.
    """
    while True:
        reserved = await _reserve(ledger, asked, quota, order)
        if reserved.state == "not_admitted":
            raise quota.exceeded()
        if reserved.state != "pending":
            return reserved
        await asyncio.sleep(POLL_S)


async def _reserve(ledger: Ledger, asked: Reservation, quota: Quota, order: str) -> Reserved:
    if not quota.is_limited:
        return await ledger.together(idempotency.reserve_each, asked, size=len(asked.new))

    def operation(connection: Connection) -> Reserved:
        quota.lock(connection)
        now = time.time()  # here, so that waiting for the ledger costs no time of the lease
        return idempotency.reserve(connection, asked, now, quota.charge)

    # By itself: a quota's row is locked in its place among those that others charge.
    return await ledger.change(operation, order=order)
