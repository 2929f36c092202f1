"""Reserves the idempotency key of a request, together with its mails."""

from __future__ import annotations

import asyncio

from handlers.accepting.quota import Quota
from ledger import Ledger, Reservation, Reserved, idempotency

#: How often a copy of a request looks whether another process has published its mails.
POLL_S = 0.05


async def reserve(ledger: Ledger, asked: Reservation, quota: Quota) -> Reserved:
    """Return the key's state; while another copy of the request publishes, wait.

    Raises:
        QuotaExceeded, LedgerUnavailable: nothing was reserved.
    """
    size = len(asked.new)
    while True:
        reserved = await ledger.together(
            idempotency.reserve_each,
            asked,
            order=asked.api_key,
            charges=quota.key_id,
            size=size,
        )
        if reserved.state == "not_admitted":
            raise quota.exceeded()
        if reserved.state != "pending":
            return reserved
        await asyncio.sleep(POLL_S)
