"""How fast mail goes to a domain: rates, and mails at a time, over all of a worker's processes."""

from __future__ import annotations

import contextlib
import math
import os
import re
import time
from collections.abc import Callable, Collection, Iterator, Sequence

import msgspec

from mailing.address import parse_mailbox
from mailing.errors import InvalidMessage
from mailing.rate import Rate
from mailing.shared import SharedNumbers

#: Longest wait that a mail is told, seconds. One that still has no turn then is told again.
LONGEST_WAIT_S = 3600.0
#: At least this many mails may go at once after a pause.
SMALLEST_BURST = 2
#: Shortest wait while too many mails to a domain are under way, seconds.
BUSY_WAIT_S = 0.1
#: How much longer a mail may sleep for its turn for each time that it has come back, seconds.
PATIENCE_S = 0.2
LONGEST_SLEEP_S = 1.0

_AT_ONCE = re.compile(r"[1-9]\d{0,3}")

# A limit's shared numbers: three times, then the process of each mail under way (0: none).
_NEXT, _LAST_RETURN, _LAST_TURN, _HOLDERS = range(4)


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``per_s`` mails a second to a domain, and ``at_once`` at a time (0: any number).

    After a pause a second's worth of mails may go at once, rounded up, and at least two: mails
    come back a little late, as queues delay by whole seconds, and a burst of one would lose that
    time. ``at_once`` protects rather than paces: a mail that finds every place taken comes back
    seconds later, so a crowd of slow mails goes at one to two times ``at_once`` a second, not at
    its rate.
    """

    domain: str
    per_s: float
    at_once: int = 0


class RateLimits:
    """Limits for some destination domains, over all processes forked after they were made.

    A mail to several of the domains counts for each. Other domains, including subdomains of these
    (they may belong to somebody else), have no limit.

    Mails that have to wait form a line: each is told a time of its own, one after the other at
    the domain's rate, so that they do not come back in a crowd. Newcomers queue up behind the
    line; a mail that comes back goes as soon as the rate allows. One that comes back often,
    because it is a little early each time, sleeps for its turn: about two at a time at most, for
    up to a second, so that the worker's other threads are free for other domains.
    """

    def __init__(
        self,
        limits: Sequence[Limit],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lanes: dict[str, _Lane] = {}
        first = 0
        for limit in limits:
            self._lanes[limit.domain] = _Lane(limit, first)
            first += _HOLDERS + limit.at_once
        self._numbers = SharedNumbers(first)

    @contextlib.contextmanager
    def admit(self, domains: Collection[str], *, returns: int = 0) -> Iterator[float]:
        """Yield the seconds to wait: 0.0 when a mail may go now, within the ``with`` block.

        Otherwise nothing was taken, and the mail is to come back after that time (LONGEST_WAIT_S at
        most) or later. A process that is killed within the block gives up its places.

        Args:
            domains: the recipients', in the form that ``parse_mailbox`` gives them.
            returns: how often the mail was told to wait before. One that comes back may sleep
                here for a short remaining wait, a newcomer never does.
        """
        lanes = [self._lanes[domain] for domain in self._lanes.keys() & set(domains)]
        if not lanes:
            yield 0.0
            return
        held: list[int] = []
        patience_s = min(PATIENCE_S * returns, LONGEST_SLEEP_S, *(2 * x.interval_s for x in lanes))
        try:
            wait_s = self._take(lanes, held, returning=returns > 0)
            if 0 < wait_s <= patience_s:
                self._sleep(wait_s)
                wait_s = self._take(lanes, held, returning=True)
            yield wait_s
        finally:
            # No lock, which may not come in time: nobody else writes these places.
            for place in held:
                self._numbers.values[place] = 0

    def _take(self, lanes: Sequence[_Lane], held: list[int], *, returning: bool) -> float:
        """Count a mail in every lane, its places noted in ``held``, or queue it up; return its
        wait in seconds."""
        with self._numbers.locked() as values:
            now = self._clock()
            times = [(lane.end_of_line(values, now, returning), lane) for lane in lanes]
            waiting = [
                (end, lane) for end, lane in times if lane.turn_at(values, now, returning) > now
            ]
            if waiting:
                # Only in the line with the latest turn: by then the other lanes have room.
                turn, lane = max(waiting, key=lambda pair: pair[0])
                lane.queue_up(values, now, turn, returning)
                return min(math.ceil((turn - now) * 1000) / 1000, LONGEST_WAIT_S)
            for lane in lanes:
                lane.take(values, now, held)
        return 0.0


class _Lane:
    """The way to one domain. Its methods are called with the shared numbers locked."""

    def __init__(self, limit: Limit, first: int) -> None:
        self.interval_s = 1 / limit.per_s
        # How far ahead of its even pace the lane may get (the generic cell rate algorithm).
        self._ahead_s = (max(SMALLEST_BURST, math.ceil(limit.per_s)) - 1) * self.interval_s
        self._next = first + _NEXT
        self._last_return = first + _LAST_RETURN
        self._last_turn = first + _LAST_TURN
        self._places = range(first + _HOLDERS, first + _HOLDERS + limit.at_once)

    def turn_at(self, values: memoryview[float], now: float, returning: bool) -> float:
        """Return when a mail may go, as things stand; ``now`` or earlier means at once."""
        turn = values[self._next] - self._ahead_s
        if self._places and self._free_place(values) is None:
            turn = max(turn, now + BUSY_WAIT_S)
        return turn if returning else max(turn, values[self._last_turn])

    def end_of_line(self, values: memoryview[float], now: float, returning: bool) -> float:
        """Return the first turn that no mail was given yet."""
        last = values[self._last_return if returning else self._last_turn]
        turn = max(self.turn_at(values, now, returning), last + self.interval_s)
        return min(turn, now + LONGEST_WAIT_S)

    def queue_up(self, values: memoryview[float], now: float, turn: float, returning: bool) -> None:
        """Note that a mail was given ``turn``."""
        if returning:
            values[self._last_return] = turn
            # It missed the turn that it had, so the newcomers' line is longer by one.
            longer = values[self._last_turn] + self.interval_s
            turn = max(turn, min(longer, now + LONGEST_WAIT_S))
        values[self._last_turn] = turn

    def take(self, values: memoryview[float], now: float, held: list[int]) -> None:
        """Count a mail that goes now."""
        place = self._free_place(values)
        if place is not None:
            held.append(place)
            values[place] = os.getpid()
        values[self._next] = max(values[self._next], now) + self.interval_s

    def _free_place(self, values: memoryview[float]) -> int | None:
        for place in self._places:
            if not values[place]:
                return place
        return next((place for place in self._places if not _is_alive(int(values[place]))), None)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # gone; or another user's process has the number by now
        return False
    return True


def parse_limits(text: str) -> tuple[Limit, ...]:
    """Read ``gmail.com=20/s,outlook.com=100/m:4``: per s, m or h, and how many at a time.

    Raises:
        ValueError: saying what is wrong.
    """
    entries = [entry.strip() for entry in text.split(",")]
    limits = tuple(_parse_limit(entry) for entry in entries if entry)
    domains = [limit.domain for limit in limits]
    for domain in domains:
        if domains.count(domain) > 1:
            raise ValueError(f"{domain} has more than one rate")
    return limits


def _parse_limit(entry: str) -> Limit:
    domain, _, limit = (part.strip() for part in entry.partition("="))
    text, colon, at_once = limit.partition(":")
    try:
        rate = Rate.parse(text)
        if colon and not _AT_ONCE.fullmatch(at_once):
            raise ValueError(at_once)
    except ValueError:
        must = "must look like example.com=20/s or example.com=100/m:4"
        raise ValueError(f"{entry!r} {must}") from None
    try:
        domain = parse_mailbox("domain", f"x@{domain}").domain
    except InvalidMessage:
        raise ValueError(f"{domain!r} is not a domain") from None
    return Limit(domain=domain, per_s=rate.count / rate.period_s, at_once=int(at_once or 0))
