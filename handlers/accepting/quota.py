"""A key's daily quota, for the mails of one request."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from sqlalchemy import Connection

from access import Caller, QuotaExceeded
from handlers.accepting.outgoing import Outgoing
from ledger import Charge, Ledger, Sendable, api_keys


class Quota:
    """Charges a request's recipients to its key's daily quota. The ledger counts, so the count is
    exact over all processes; methods with a ``connection`` are parts of its operations.

    ``key_id``: ``charges`` of :meth:`Ledger.write` for these; empty: nothing is charged."""

    def __init__(self, key_id: str, daily_recipients: int | None, recipients: int) -> None:
        self.is_limited = daily_recipients is not None
        self.key_id = key_id
        self._daily_recipients = daily_recipients
        self._recipients = recipients
        self._now = time.time()
        self._today = api_keys.day_of(self._now)

    @property
    def charge(self) -> Charge | None:
        """What the recipients cost; None: nothing."""
        return self._charge(self._recipients) if self.is_limited else None

    async def pay(self, ledger: Ledger) -> None:
        """Charge the recipients, together with other requests of the key.

        Raises:
            QuotaExceeded, LedgerUnavailable
        """
        if self.charge is None:
            return
        if not await ledger.together(
            api_keys.charge_each, self.charge, order=self.key_id, charges=self.key_id
        ):
            raise self.exceeded()

    def refund(self, connection: Connection, mails: Sequence[Outgoing]) -> None:
        """Take back what was charged for mails that were certainly not queued."""
        if self.is_limited:
            api_keys.refund(connection, self._charge(recipients_of(mails)))

    def charge_retry(self, connection: Connection, sendable: Sendable) -> Sendable:
        """Charge a retried mail to the caller of the retry; return it with its ``charge``.

        Raises:
            QuotaExceeded: the transaction, with the retry, is then rolled back.
        """
        if not self.is_limited or not sendable.recipients:
            return sendable
        charge = self._charge(sendable.recipients)
        if not api_keys.charge(connection, charge):
            raise self.exceeded()
        return msgspec.structs.replace(sendable, charge=charge)

    def _charge(self, recipients: int) -> Charge:
        return Charge(key_id=self.key_id, recipients=recipients, today=self._today)

    def exceeded(self) -> QuotaExceeded:
        """Return the error for a charge that was too much."""
        tomorrow = (self._today + 1) * api_keys.DAY_S
        return QuotaExceeded(self._daily_recipients or 0, tomorrow - self._now)


#: For callers without a quota.
UNLIMITED = Quota("", None, 0)


def quota_of(caller: Caller, mails: Sequence[Outgoing]) -> Quota:
    """Return the quota that mails are charged to."""
    if caller.daily_recipients is None:
        return UNLIMITED
    return Quota(caller.owner, caller.daily_recipients, recipients_of(mails))


def recipients_of(mails: Sequence[Outgoing]) -> int:
    """Return how many recipients mails have: in each mail, every address counts once."""
    return sum(len(mail.email.recipients) for mail in mails)
