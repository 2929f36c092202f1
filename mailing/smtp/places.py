"""How many connections a relay allows a process, and which thread's turn it is to have one."""

from __future__ import annotations

import math
import threading
import time
from collections import deque

from mailing.errors import NoFreeSession, Unreachable
from mailing.reply import is_transient
from mailing.smtp.session import Session

#: After a connection that was one too many, another one is tried so much later, in seconds.
ASK_AGAIN_S = 10.0


class Places:
    """A process's connections with one relay: taken, or being opened; and its idle sessions.

    Most relays limit a client's connections, and greet one more with 421 (Postfix: over 50). As
    long as the process has others, that is no failure: threads take turns, first come, first
    served. Now and then one of them finds out whether the relay allows more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Session] = []  # the last one used last
        self._taken = 0
        self._waiting: deque[threading.Event] = deque()
        self._most = math.inf  # how many connections the relay allows,
        self._refusal = Unreachable()  # what it said to one more,
        self._asked_again_at = 0.0  # and until when that is believed

    def take(self, until: float, *, fresh: bool) -> Session | None:
        """Wait for a place; return the idle session that was used last, or None: open one.

        Args:
            until: when to stop waiting for a place, on the monotonic clock.
            fresh: take no idle session, unless the relay allows no other.

        Raises:
            NoFreeSession
        """
        turn = threading.Event()
        with self._lock:
            self._waiting.append(turn)
        try:
            while True:
                with self._lock:
                    turn.clear()
                    is_first = self._waiting[0] is turn
                    if is_first and self._is_any_free():
                        return self._occupy(fresh=fresh)
                    wait_until = min(until, self._asked_again_at) if is_first else until
                if time.monotonic() >= until:
                    raise NoFreeSession(*self._refusal.args)
                turn.wait(wait_until - time.monotonic())
        finally:
            with self._lock:
                self._waiting.remove(turn)
                self._call_next()

    def leave(self, session: Session | None = None) -> None:
        """Give up a place; the session, if it is alive, is for the next thread."""
        with self._lock:
            self._taken -= 1
            if session is not None and session.alive:
                self._idle.append(session)
            self._call_next()

    def note_opened(self) -> None:
        """Note that a session was opened: if it is one more than were allowed, more may be."""
        with self._lock:
            if self._count() > self._most:
                self._most = math.inf
                self._call_next()

    def leave_refused(self, refusal: Unreachable) -> bool:
        """Give up a place, and tell whether the connection may only have been one too many.

        By then others that are being opened count, too: the relay may be greeting them now.
        """
        with self._lock:
            self._taken -= 1
            ours = self._count()
            is_full = bool(ours and refusal.code is not None and is_transient(refusal.code))
            if is_full:
                self._most, self._refusal = ours, refusal
                self._asked_again_at = time.monotonic() + ASK_AGAIN_S
            self._call_next()
        return is_full

    def pop_expired(self) -> Session | None:
        """Take away the session that has been idle longest, if for too long to be used again."""
        with self._lock:
            return self._idle.pop(0) if self._idle and self._idle[0].has_expired() else None

    def pop_idle(self) -> Session | None:
        """Take away an idle session, to close it."""
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _count(self) -> int:
        return self._taken + len(self._idle)

    def _is_any_free(self) -> bool:
        is_full = not self._idle and self._count() >= self._most
        return not is_full or time.monotonic() >= self._asked_again_at

    def _occupy(self, *, fresh: bool) -> Session | None:
        is_full = self._count() >= self._most
        kept = self._idle.pop() if self._idle and (is_full or not fresh) else None
        if kept is None and is_full:
            self._asked_again_at = time.monotonic() + ASK_AGAIN_S  # by this thread alone
        self._taken += 1
        return kept

    def _call_next(self) -> None:
        """Let the thread that has waited longest see whether it has a place now."""
        if self._waiting:
            self._waiting[0].set()
