"""A process's SMTP sessions: lent to one thread at a time, kept open in between."""

from __future__ import annotations

import logging
import math
import threading
import time
import weakref
from collections import Counter, defaultdict

from mailing.errors import Unreachable
from mailing.reply import is_transient
from mailing.smtp.connection import open_session
from mailing.smtp.relay import Relay
from mailing.smtp.session import Session

#: For how long no more sessions are opened than a relay has allowed, seconds.
FULL_S = 10.0

logger = logging.getLogger(__name__)


class Pool:
    """Sessions by relay. Any thread may use it, and every session that is taken is given back.

    Most relays limit a client's connections, and greet one more with 421 (Postfix: over 50). As
    long as this process has others, that is no failure: threads take turns.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: defaultdict[Relay, list[Session]] = defaultdict(list)  # the last one used last
        self._busy: Counter[Relay] = Counter()  # taken, or being opened
        self._most: dict[Relay, int] = {}  # what a relay has allowed,
        self._full_until: dict[Relay, float] = {}  # and how long that is believed
        self._opened = weakref.WeakSet[Session]()

    def take(self, relay: Relay, *, fresh: bool = False) -> tuple[Session, bool]:
        """Return a session that is alive, and whether it was kept from earlier.

        If the relay refuses another connection for now, wait up to ``timeout_s`` for one of ours.

        Args:
            fresh: open one, unless the relay is known to allow no more.

        Raises:
            Unreachable: no session could be opened, or became free.
        """
        until = time.monotonic() + relay.timeout_s
        while True:
            kept = self._reserve(relay, until, fresh=fresh)
            try:
                if kept is None:
                    return self._open(relay), False
                if kept.is_usable():
                    return kept, True
            except Unreachable as exc:
                if not self._wait_for_others(relay, exc, until):
                    raise
            except BaseException:
                self._leave(relay)
                raise
            else:
                self._leave(relay)

    def give_back(self, session: Session) -> None:
        """Let another thread have the session, or open one in its place if it is not alive."""
        with self._changed:
            if session.alive:
                self._idle[session.relay].append(session)
            self._leave(session.relay)

    def close(self) -> None:
        """Close the sessions that no thread has, with QUIT."""
        while session := self._any_idle():
            session.close()

    def let_go(self) -> None:
        """Close a forked child's copies of all sockets, and forget the parent's sessions."""
        for session in list(self._opened):
            session.let_go()
        self.__init__()  # type: ignore[misc] # another thread may have held the lock at the fork

    def _open(self, relay: Relay) -> Session:
        session = open_session(relay)
        self._opened.add(session)
        logger.debug("session with %s:%d opened, tls=%s", relay.host, relay.port, session.tls)
        return session

    def _reserve(self, relay: Relay, until: float, *, fresh: bool) -> Session | None:
        """Get a place, and the idle session that was used last (None: one is to be opened)."""
        with self._changed:
            idle = self._idle[relay]
            if time.monotonic() >= self._full_until.get(relay, 0.0):
                self._most.pop(relay, None)
            while not idle and self._is_full(relay):
                if not self._changed.wait(until - time.monotonic()):
                    break
            kept = idle.pop() if idle and (not fresh or self._is_full(relay)) else None
            self._busy[relay] += 1
            expired = [one for one in idle if one.has_expired()]
            idle[:] = [one for one in idle if one not in expired]
        for one in expired:
            one.close()
        return kept

    def _is_full(self, relay: Relay) -> bool:
        return self._open_now(relay) >= self._most.get(relay, math.inf)

    def _open_now(self, relay: Relay) -> int:
        return self._busy[relay] + len(self._idle[relay])

    def _wait_for_others(self, relay: Relay, refusal: Unreachable, until: float) -> bool:
        """Give up a place, and tell whether another thread's session may become free.

        By then those that are being opened count, too: the relay may be greeting them now.
        """
        with self._changed:
            self._leave(relay)
            ours = self._open_now(relay)
            is_for_now = refusal.code is not None and is_transient(refusal.code)
            if not (ours and is_for_now) or time.monotonic() >= until:
                return False
            self._most[relay] = ours
            self._full_until[relay] = time.monotonic() + FULL_S
        return True

    def _leave(self, relay: Relay) -> None:
        with self._changed:
            self._busy[relay] -= 1
            self._changed.notify()

    def _any_idle(self) -> Session | None:
        with self._changed:
            for idle in self._idle.values():
                if idle:
                    return idle.pop()
        return None
