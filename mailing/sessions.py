"""Sessions are kept: one for each thread and relay, from mail to mail."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Sequence

from mailing import transaction
from mailing.connection import open_session
from mailing.delivery import Delivery
from mailing.errors import MailError, TransientFailure
from mailing.relay import Relay
from mailing.session import Session

logger = logging.getLogger(__name__)


class _Kept(threading.local):
    def __init__(self) -> None:
        self.sessions: dict[Relay, Session] = {}


_kept = _Kept()


def deliver(relay: Relay, *, sender: str, recipients: Sequence[str], content: bytes) -> Delivery:
    """Hand a mail to a relay, over this thread's session with it if there is one.

    A kept session that turns out to be dead before it accepted this mail's MAIL FROM is replaced
    once, unnoticed.

    Args:
        relay: where to.
        sender: for MAIL FROM, a bare address; empty: no bounces.
        recipients: for RCPT TO, bare addresses.
        content: the mail as octets, lines ended by CRLF; from ``build``.

    Returns:
        The relay's replies: it took responsibility for the mail to all in ``accepted``.

    Raises:
        InvalidMessage: the arguments can't be put into SMTP; nothing was sent.
        PermanentFailure: refused for good.
        TransientFailure: not sent; a later try may succeed.
        Uncertain: sent, but the relay's answer was lost.
    """
    transaction.check(sender, recipients, content)
    session: Session | None = None
    try:
        session = _begin(relay, sender, content)
        return transaction.finish(session, recipients, content)
    except MailError:
        raise
    except BaseException:
        # A time limit or a signal in the middle of a command: nobody knows where we are.
        _abandon(relay)
        raise


def _begin(relay: Relay, sender: str, content: bytes) -> Session:
    """Return a session that has accepted MAIL FROM."""
    session = _kept.sessions.get(relay)
    if session and session.is_usable():
        try:
            transaction.begin(session, sender, content)
        except TransientFailure:
            if session.alive:
                raise
            logger.debug("session with %s:%d is gone, opening another", relay.host, relay.port)
        else:
            return session
    session = _kept.sessions[relay] = open_session(relay)
    logger.debug("session with %s:%d opened, tls=%s", relay.host, relay.port, session.tls)
    transaction.begin(session, sender, content)
    return session


def close_sessions() -> None:
    """Close the calling thread's sessions, with QUIT; the next ``deliver`` opens new ones."""
    while _kept.sessions:
        _kept.sessions.popitem()[1].close()


def _abandon(relay: Relay) -> None:
    session = _kept.sessions.pop(relay, None)
    if session:
        session.abandon()


def _abandon_all() -> None:
    while _kept.sessions:
        _kept.sessions.popitem()[1].abandon()


atexit.register(close_sessions)
# A forked child has copies of its parent's sockets: it lets go of them without a word.
os.register_at_fork(after_in_child=_abandon_all)
