"""Keeps sessions open between mails, one for each thread and relay."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence

from mailing.delivery import Delivery
from mailing.errors import DeliveryError, MailError, TransientFailure
from mailing.smtp import transaction
from mailing.smtp.connection import open_session
from mailing.smtp.relay import Relay
from mailing.smtp.session import Session

logger = logging.getLogger(__name__)


class _Kept(threading.local):
    def __init__(self) -> None:
        self.sessions: dict[Relay, Session] = {}


_kept = _Kept()
_opened = weakref.WeakSet[Session]()  # by all threads


def deliver(
    relay: Relay,
    *,
    sender: str,
    recipients: Sequence[str],
    content: bytes,
    claim: Callable[[], Sequence[str]] | None = None,
) -> Delivery:
    """Hand a mail to a relay, over this thread's session with it if there is one.

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
    with _conversation(relay):
        kept = _usable(relay)
        session = kept or _open(relay)
    until = time.monotonic() + relay.dialogue_s  # set before the claim, so its time counts
    if claim:
        chosen = set(claim())
        recipients = [one for one in recipients if one in chosen]  # only these were checked
    with _conversation(relay):
        session = _begin(session, sender, recipients, content, until, replace=bool(kept))
        return transaction.finish(session, recipients, content)


@contextlib.contextmanager
def _conversation(relay: Relay) -> Iterator[None]:
    """Add the session's host and TLS to errors; abandon a session whose state is unknown."""
    try:
        yield
    except DeliveryError as exc:
        session = _kept.sessions.get(relay)
        exc.host, exc.tls = relay.host, session.tls if session else None
        raise
    except MailError:
        raise
    except BaseException:
        # A time limit or a signal in the middle of a command.
        _abandon(relay)
        raise


def _usable(relay: Relay) -> Session | None:
    session = _kept.sessions.get(relay)
    return session if session and session.is_usable() else None


def _open(relay: Relay) -> Session:
    _abandon(relay)
    session = _kept.sessions[relay] = open_session(relay)
    _opened.add(session)
    logger.debug("session with %s:%d opened, tls=%s", relay.host, relay.port, session.tls)
    return session


def _begin(
    session: Session,
    sender: str,
    recipients: Sequence[str],
    content: bytes,
    until: float,
    *,
    replace: bool,
) -> Session:
    """Send MAIL FROM; return the session in which it was accepted. This is a new one if ``replace``
    and the given one is dead, or takes no more mails: OpenSMTPD answers 452 after 100 mails, and
    leaves the session open."""
    session.begin_mail(until)
    try:
        transaction.begin(session, sender, recipients, content)
    except TransientFailure:
        if not replace or (session.alive and not session.has_delivered):
            raise
        logger.debug("session with %s is over, opening another", session.relay.host)
        session.close()
    else:
        return session
    session = _open(session.relay)
    session.begin_mail(until)
    transaction.begin(session, sender, recipients, content)
    return session


def close_sessions() -> None:
    """Close the calling thread's sessions, with QUIT; the next ``deliver`` opens new ones."""
    while _kept.sessions:
        _kept.sessions.popitem()[1].close()


def _abandon(relay: Relay) -> None:
    session = _kept.sessions.pop(relay, None)
    if session:
        session.abandon()


def _let_go() -> None:
    for session in list(_opened):
        session.let_go()
    _opened.clear()
    _kept.sessions.clear()


atexit.register(close_sessions)
# A forked child has copies of its parent's sockets, also of those that other threads use. While
# they are open, a relay does not notice that the parent closes a connection.
os.register_at_fork(after_in_child=_let_go)
