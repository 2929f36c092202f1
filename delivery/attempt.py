"""One attempt to send a mail: its data, and its claim in the ledger."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

import config
import mailing
from delivery import entry, parts, retention
from delivery.identity import attempt_name, is_gone
from ledger import claims
from ledger.errors import LedgerUnavailable
from ledger.values import Claim, Granted, NewEmail

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: How much longer a lease is than the longest SMTP dialogue, in seconds: the attempt also writes
#: to the ledger, and may wait for a busy processor.
LEASE_MARGIN_S = 15.0
#: Pause between tries to record an outcome, or to claim, in seconds.
AGAIN_S = 0.5
#: How long a claim is retried, in seconds: enough for a lost connection, not for an outage.
CLAIM_AGAIN_S = 2.0


class NotGranted(Exception):
    """The ledger did not grant the claim; ``found`` says why."""

    def __init__(self, found: Claim) -> None:
        self.found = found
        super().__init__()


class Attempt:
    """One call of :func:`delivery.send`: its arguments, and what follows from them. ``track``: the
    message's number; ``returns``: how often the same message came out of the queue before.

    Raises:
        InvalidMessage: naming the argument.
    """

    def __init__(
        self,
        email_id: str,
        arguments: Mapping[str, Any],
        *,
        track: int,
        returns: int,
        moment: float | None,
    ) -> None:
        self.track = track
        self.returns = returns
        self.moment = entry.accepted_at(email_id, moment)
        self.mail = entry.compose(arguments)
        keep = config.options.ledger_keep == "all"
        self.new: NewEmail = entry.new_email(
            email_id, arguments, keep=keep, mail=self.mail, moment=self.moment
        )
        self.message_id = mailing.message_id(self.mail, email_id)
        self.granted: Granted | None = None

    def claim(self) -> Sequence[str]:
        """Claim the mail; return the recipients who are not settled yet.

        Raises:
            NotGranted: the mail must not be sent now.
            LedgerUnavailable: for CLAIM_AGAIN_S; the claim may have been committed all the same.
        """
        relay, worker = parts.relay(), attempt_name()
        lease_s = relay.dialogue_s + relay.data_timeout_s + LEASE_MARGIN_S

        def claim(connection: Connection) -> Claim:
            now = time.time()  # here, so that the timeline is in order: the ledger may have to wait
            return claims.claim(
                connection,
                self.new,
                track=self.track,
                worker=worker,
                is_gone=is_gone,
                lease_until=now + lease_s,
                now=now,
            )

        operation = retention.unless_forgotten(self.new, claim)
        # If the answer to COMMIT was lost, the next try finds this claim by the attempt's name.
        found = self.persistently("a claim", operation, until=time.time() + CLAIM_AGAIN_S)
        if not isinstance(found, Granted):
            raise NotGranted(found)
        self.granted = found
        settled = {reply.address for reply in found.settled}
        return [one.address for one in self.new.recipients if one.address not in settled]

    def persistently(self, what: str, operation: Callable[[Connection], T], *, until: float) -> T:
        """Change the mail in the ledger; while the ledger is unavailable, retry until ``until``
        (Unix seconds). ``what``: names the change in the log.

        Raises:
            LedgerUnavailable: it was still unavailable then.
        """
        while True:
            try:
                return self.change(operation)
            except LedgerUnavailable as exc:
                if time.time() > until:
                    raise
                logger.warning("%s waits for the ledger: %s", what, exc)
                time.sleep(AGAIN_S)

    def change(self, operation: Callable[[Connection], T]) -> T:
        """Change the mail in the ledger.

        Raises:
            LedgerUnavailable
        """
        # Several processes write the same mails. All lock them in the order of ids: no deadlocks.
        return parts.ledger().commit(operation, order=self.new.id)
