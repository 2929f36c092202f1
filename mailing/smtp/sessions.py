"""Hands mails to a relay, in sessions that are kept open in between."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence

from mailing.delivery import Delivery
from mailing.errors import DeliveryError, TransientFailure
from mailing.smtp import transaction
from mailing.smtp.pool import Pool
from mailing.smtp.relay import Relay
from mailing.smtp.session import Session

logger = logging.getLogger(__name__)


_pool = Pool()


class _Loan:
    """A session that this thread has until it gives it back; None: it could not be replaced."""

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.session: Session | None
        self.session, self.was_kept = _pool.take(relay)

    def replace(self) -> Session:
        """Close the session, with QUIT, and take another.

        Raises:
            Unreachable: there is none now.
        """
        session = self.session
        assert session is not None  # nosec B101 # it is replaced once
        session.close()
        self.session = None
        self.session = _pool.replace(session)
        return self.session

    def give_back(self) -> None:
        if self.session:
            _pool.give_back(self.session)
        self.session = None


def deliver(
    relay: Relay,
    *,
    sender: str,
    recipients: Sequence[str],
    content: bytes,
    claim: Callable[[], Sequence[str]] | None = None,
) -> Delivery:
    """Hand a mail to a relay, over a kept session with it if there is one.

    If a kept session turns out to be dead before the relay accepts this mail's MAIL FROM, a new
    one is opened, once; likewise if it has delivered mails and answers this MAIL FROM with 4yz.

    Args:
        relay: where to.
        sender: for MAIL FROM, a bare address.
        recipients: for RCPT TO, bare addresses.
        content: the mail as octets, ASCII with each line ended by CRLF; from ``build``.
        claim: called once, on an open session, right before the first MAIL FROM; returns those
            of ``recipients`` who are to get the mail, at least one. If it raises, nothing was
            sent, the error is passed on, and the session is kept for the next mail.

    Returns:
        The relay's replies.

    Raises:
        InvalidMessage: the arguments can't be put into SMTP; nothing was sent.
        Unreachable: not sent, as no session could be opened; ``claim`` was called only if the
            session was to replace a kept one.
        PermanentFailure: refused for good.
        TransientFailure: not sent; a later try may succeed.
        Uncertain: sent, but the relay's answer was lost.
    """
    transaction.check(sender, recipients, content)
    with _lent(relay) as loan:
        until = time.monotonic() + relay.dialogue_s  # set before the claim, so its time counts
        if claim:
            chosen = set(claim())
            recipients = [one for one in recipients if one in chosen]  # only these were checked
        with _conversation(loan):
            session = _begin(loan, sender, recipients, content, until)
            return transaction.finish(session, recipients, content)


@contextlib.contextmanager
def _lent(relay: Relay) -> Iterator[_Loan]:
    try:
        loan = _Loan(relay)
    except DeliveryError as exc:
        exc.host = relay.host
        raise
    try:
        yield loan
    finally:
        loan.give_back()


@contextlib.contextmanager
def _conversation(loan: _Loan) -> Iterator[None]:
    """Add the session's host and TLS to errors; abandon a session whose state is unknown."""
    try:
        yield
    except DeliveryError as exc:
        exc.host, exc.tls = loan.relay.host, loan.session.tls if loan.session else None
        raise
    except BaseException:
        # A time limit or a signal in the middle of a command.
        if loan.session:
            loan.session.abandon()
        raise


def _begin(
    loan: _Loan, sender: str, recipients: Sequence[str], content: bytes, until: float
) -> Session:
    """Send MAIL FROM; return the session in which it was accepted. This is a new one if the kept
    one is dead, or takes no more mails: OpenSMTPD answers 452 after 100 mails, and leaves the
    session open."""
    session = loan.session
    assert session is not None  # nosec B101 # a new loan has one
    session.begin_mail(until)
    try:
        transaction.begin(session, sender, recipients, content)
    except TransientFailure:
        if not loan.was_kept or (session.alive and not session.has_delivered):
            raise
        logger.debug("session with %s is over, opening another", loan.relay.host)
    else:
        return session
    session = loan.replace()
    session.begin_mail(until)
    transaction.begin(session, sender, recipients, content)
    return session


def close_sessions() -> None:
    """Close the sessions that no thread is using, with QUIT; the next ``deliver`` opens others."""
    _pool.close()


atexit.register(close_sessions)
# A forked child has copies of its parent's sockets, also of those that are in use. While
# they are open, a relay does not notice that the parent closes a connection.
os.register_at_fork(after_in_child=_pool.let_go)
