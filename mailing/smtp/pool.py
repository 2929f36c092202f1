"""A process's SMTP sessions: lent to one thread at a time, kept open in between."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections import defaultdict

from mailing.errors import Unreachable
from mailing.smtp.connection import open_session
from mailing.smtp.places import Places
from mailing.smtp.relay import Relay
from mailing.smtp.session import Session

logger = logging.getLogger(__name__)


class Pool:
    """Sessions by relay. Any thread may use it, and every session that is taken is given back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._places: defaultdict[Relay, Places] = defaultdict(Places)
        self._opened = weakref.WeakSet[Session]()

    def take(self, relay: Relay) -> tuple[Session, bool]:
        """Return a session that is alive, and whether it was kept from earlier.

        If the relay refuses another connection for now, wait up to ``timeout_s`` for one of ours.

        Raises:
            Unreachable: no session could be opened; NoFreeSession: nor became free in time.
        """
        until = time.monotonic() + relay.timeout_s
        return self._fill(relay, self._places_of(relay).take(until, fresh=False), until)

    def replace(self, session: Session) -> Session:
        """Return another session, if possible a new one, in the place of one that is closed.

        Raises:
            as :meth:`take`; then nothing is to be given back.
        """
        return self._fill(session.relay, None, time.monotonic() + session.relay.timeout_s)[0]

    def give_back(self, session: Session) -> None:
        """Let another thread have the session, or open one in its place if it is not alive."""
        self._places_of(session.relay).leave(session)

    def close(self) -> None:
        """Close the sessions that no thread has, with QUIT."""
        with self._lock:
            all_places = list(self._places.values())
        for places in all_places:
            while session := places.pop_idle():
                session.close()

    def let_go(self) -> None:
        """Close a forked child's copies of all sockets, and forget the parent's sessions."""
        for session in list(self._opened):
            session.let_go()
        self.__init__()  # type: ignore[misc] # another thread may have held a lock at the fork

    def _fill(self, relay: Relay, kept: Session | None, until: float) -> tuple[Session, bool]:
        """Return what :meth:`take` does, for a place that was taken; it is given up on an error."""
        places = self._places_of(relay)
        while True:
            try:
                _close_expired(places)
                if kept is None:
                    return self._open(relay, places), False
                if kept.is_usable():
                    return kept, True
            except Unreachable as exc:
                if not places.leave_refused(exc):
                    raise
            except BaseException:
                places.leave()
                raise
            else:
                places.leave()
            # Older idle ones are probably dead, too, and it may take 5 s to see that of each.
            kept = places.take(until, fresh=True)

    def _places_of(self, relay: Relay) -> Places:
        with self._lock:
            return self._places[relay]

    def _open(self, relay: Relay, places: Places) -> Session:
        session = open_session(relay)
        self._opened.add(session)
        places.note_opened()
        logger.debug("session with %s:%d opened, tls=%s", relay.host, relay.port, session.tls)
        return session


def _close_expired(places: Places) -> None:
    """Close one of them for each mail: a relay that is gone may take 5 s for each QUIT."""
    if expired := places.pop_expired():
        expired.close()
