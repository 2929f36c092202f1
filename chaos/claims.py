"""Which mails were on their way when a fault came, according to the ledger's events, and which of
those went twice because of it.

A mail is on its way from its claim, right before MAIL FROM, until its next event: the outcome, or
the next claim. A copy is blamed on the first fault that came, or lasted, while the mail was on its
way the time before, and that can be the cause: a fault of the server, before a mail is in the
queue, cannot, nor can one of a worker's pool processes, which run no mails. A copy that no fault
can be blamed for is a broken promise.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from sqlalchemy import select

from chaos.checker import Story
from chaos.struck import Struck
from ledger.engine import open_engine
from ledger.schema import events

TIMEOUT_S = 60.0
CLAIM = "sending"
#: Journals and ledger share a clock, but note the time before they do what it stands for.
SLACK_S = 0.5
#: Words in the names of faults that strike where no mail is on its way.
HARMLESS = ("server", "front proxy", "worker process")


@dataclass(frozen=True)
class Claims:
    """When mails were on their way: all beginnings, all ends, and the spans by the mail's id."""

    begins: list[float]
    ends: list[float]
    of: Mapping[str, list[tuple[float, float]]]

    def open_at(self, moment: float) -> int:
        """Return how many mails were on their way."""
        return bisect_right(self.begins, moment) - bisect_right(self.ends, moment)


def read(url: str) -> Claims:
    """Read all claims from a ledger.

    Raises:
        sqlalchemy.exc.SQLAlchemyError
    """
    columns = select(events.c.email_id, events.c.type, events.c.at)
    engine = open_engine(url, TIMEOUT_S)
    try:
        with engine.connect() as connection:
            rows = connection.execute(columns.order_by(events.c.email_id, events.c.number))
            return of_events((row.email_id, row.type, row.at) for row in rows)
    finally:
        engine.dispose()


def of_events(rows: Iterable[tuple[str, str, float]]) -> Claims:
    """Return the claims from the ledger's events: id, type and time, each mail's in their order."""
    found = defaultdict[str, list[tuple[float, float]]](list)
    last: tuple[str, str, float] | None = None
    for row in chain(rows, [("", "", math.inf)]):
        if last is not None and last[1] == CLAIM:
            end = row[2] if row[0] == last[0] else math.inf
            found[last[0]].append((last[2], end))
        last = row
    every = [claim for claims in found.values() for claim in claims]
    begins, ends = sorted(begin for begin, _ in every), sorted(end for _, end in every)
    return Claims(begins=begins, ends=ends, of=found)


def blame(struck: Sequence[Struck], told: Mapping[int, Story], claims: Claims) -> list[str]:
    """Note in each fault how many mails were on their way when it came, and how many of these went
    again; return what no fault can be blamed for."""
    for one in struck:
        one.in_flight = claims.open_at(one.at)
    wrong = []
    for story in told.values():
        for copy_at in _copies(story):
            spans = [span for id_ in story.ids for span in claims.of.get(id_, ())]
            before = [span for span in spans if span[0] <= copy_at][:-1]
            if (fault := _first(struck, before)) is None:
                wrong.append(f"mail {story.number} went again at {copy_at:.3f}, by no fault")
            else:
                fault.again += 1
    return wrong


def _copies(story: Story) -> list[float]:
    """Return when a recipient got a mail again."""
    had, found = Counter[str](), list[float]()
    for receipt in sorted(story.receipts, key=lambda line: line.at):
        had.update(receipt.to)
        if any(had[to] > 1 for to in receipt.to):
            found.append(receipt.at)
    return found


def _first(struck: Sequence[Struck], spans: Sequence[tuple[float, float]]) -> Struck | None:
    """Return the first fault that came or lasted in a span, the newest span first."""
    for begin, end in reversed(spans):
        for one in struck:
            harmless = any(word in one.kind for word in HARMLESS)
            if not harmless and one.at <= end and begin <= one.at + one.lasted_s + SLACK_S:
                return one
    return None
