"""Limits for a domain: mails per time, and mails at a time, for all processes of a worker."""

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

#: Longest wait that is returned for a mail, in seconds. If its turn is later, it gets a new wait.
LONGEST_WAIT_S = 3600.0
#: At least this many mails may go at once after a pause.
SMALLEST_BURST = 2
#: Wait while as many mails as allowed are being sent to a domain, in seconds; it may be longer.
BUSY_WAIT_S = 0.1
#: How long a mail may sleep for its turn: this many seconds for each time that it has come back.
SLEEP_PER_RETURN_S = 0.2
LONGEST_SLEEP_S = 1.0

_AT_ONCE = re.compile(r"[1-9]\d{0,3}")

# A domain's times: when the next mail would go at an even pace; the last turn given to a mail that
# came back; the last turn given to any mail.
_NEXT, _LAST_RETURN, _LAST_TURN = range(3)
_TIMES = 3


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """At most ``per_s`` mails a second to a domain, and ``at_once`` at a time (0: any number).

    After a pause the mails of one second may go at once, rounded up, and at least two: queues
    delay by whole seconds, so mails come back a little late, and with a burst of one that time
    would be lost. ``at_once`` protects the domain, but does not keep the rate: a mail that finds
    no free place comes back seconds later, so many slow mails go at one to two times ``at_once``
    a second.
    """

    domain: str
    per_s: float
    at_once: int = 0


class RateLimits:
    """Limits for some recipient domains, in all processes forked after this was made.

    A mail to several of the domains counts for each. Other domains have no limit, and neither have
    subdomains, which may belong to somebody else.

    Each mail that has to wait gets a turn of its own, one after the other at the domain's rate, so
    that not all come back at once. New mails get turns after all others; a mail that comes back
    goes as soon as the rate allows. A mail that has come back often, each time a little early,
    sleeps until its turn: about two mails at a time do, for up to a second, so that the worker's
    other threads are free for other domains.
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
        self._numbers = SharedNumbers(sum(_TIMES + limit.at_once for limit in limits))
        self._lanes: dict[str, _Lane] = {}
        rest = self._numbers.values
        for limit in limits:
            count = _TIMES + limit.at_once
            self._lanes[limit.domain] = _Lane(limit, rest[:count])
            rest = rest[count:]

    @contextlib.contextmanager
    def admit(self, domains: Collection[str], *, returns: int = 0) -> Iterator[float]:
        """Yield the seconds to wait: 0.0 when a mail may go now, within the ``with`` block.

        Otherwise nothing was counted, and the mail is to come back after that time (LONGEST_WAIT_S
        at most) or later. If a process is killed within the block, its places become free.

        Args:
            domains: the recipients', in the form that ``parse_mailbox`` gives them.
            returns: how often the mail had to wait before. A mail that comes back may sleep here if
                its turn is near; a new one never does.
        """
        lanes = [self._lanes[domain] for domain in self._lanes.keys() & set(domains)]
        if not lanes:
            yield 0.0
            return
        held: list[tuple[_Lane, int]] = []
        longest_s = min(SLEEP_PER_RETURN_S * returns, LONGEST_SLEEP_S)
        sleep_s = min(longest_s, *(2 * lane.interval_s for lane in lanes))
        try:
            wait_s = self._take(lanes, held, returning=returns > 0)
            if 0 < wait_s <= sleep_s:
                self._sleep(wait_s)
                wait_s = self._take(lanes, held, returning=True)
            yield wait_s
        finally:
            for lane, place in held:
                lane.leave(place)

    def _take(
        self, lanes: Sequence[_Lane], held: list[tuple[_Lane, int]], *, returning: bool
    ) -> float:
        """Count a mail for each domain, with its places in ``held``, or give it a turn; return its
        wait in seconds."""
        with self._numbers.locked():
            now = self._clock()
            waiting = [lane for lane in lanes if lane.turn_at(now, returning) > now]
            if waiting:
                # Only from the domain with the latest turn: by then the others have room.
                ends = [(lane.end_of_line(now, returning), lane) for lane in waiting]
                turn, lane = max(ends, key=lambda pair: pair[0])
                lane.queue_up(now, turn, returning)
                return min(math.ceil((turn - now) * 1000) / 1000, LONGEST_WAIT_S)
            for lane in lanes:
                lane.take(now, held)
        return 0.0


class _Lane:
    """One domain's limit and its state; all methods but :meth:`leave` need the numbers' lock.

    Args:
        numbers: this domain's, shared by all processes: its times, and then a process id for each
            mail that is being sent (0: the place is free).
    """

    def __init__(self, limit: Limit, numbers: memoryview[float]) -> None:
        self.interval_s = 1 / limit.per_s
        # How far ahead of an even pace the mails may get (the generic cell rate algorithm).
        self._ahead_s = (max(SMALLEST_BURST, math.ceil(limit.per_s)) - 1) * self.interval_s
        self._times = numbers[:_TIMES]
        self._holders = numbers[_TIMES:]

    def turn_at(self, now: float, returning: bool) -> float:
        """Return when a mail may go if no others come; ``now`` or earlier means at once."""
        turn = self._times[_NEXT] - self._ahead_s
        if self._holders and self._free_place() is None:
            turn = max(turn, now + BUSY_WAIT_S)
        return turn if returning else max(turn, self._times[_LAST_TURN])

    def end_of_line(self, now: float, returning: bool) -> float:
        """Return the first turn that no mail was given yet."""
        last = self._times[_LAST_RETURN if returning else _LAST_TURN]
        turn = max(self.turn_at(now, returning), last + self.interval_s)
        return min(turn, now + LONGEST_WAIT_S)

    def queue_up(self, now: float, turn: float, returning: bool) -> None:
        """Record that ``turn`` was given to a mail."""
        if returning:
            self._times[_LAST_RETURN] = turn
            # The mail did not use its former turn, so the last turn of all is one interval later.
            longer = self._times[_LAST_TURN] + self.interval_s
            turn = max(turn, min(longer, now + LONGEST_WAIT_S))
        self._times[_LAST_TURN] = turn

    def take(self, now: float, held: list[tuple[_Lane, int]]) -> None:
        """Count a mail that goes now, and take a place for it."""
        place = self._free_place()
        if place is not None:
            held.append((self, place))
            self._holders[place] = os.getpid()
        self._times[_NEXT] = max(self._times[_NEXT], now) + self.interval_s

    def leave(self, place: int) -> None:
        """Free a place. It needs no lock, which might not be free soon: only the process that holds
        the place writes there."""
        self._holders[place] = 0

    def _free_place(self) -> int | None:
        holders = [int(pid) for pid in self._holders]
        if 0 in holders:
            return holders.index(0)
        return next((place for place, pid in enumerate(holders) if not _is_alive(pid)), None)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:  # it ended; or its id now belongs to another user's process
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
