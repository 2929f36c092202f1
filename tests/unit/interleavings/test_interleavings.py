"""One mail, and everything that may happen to it, in every order.

``make chaos`` throws random faults at the whole system; here the real code is stepped through every
order of its effects, for one mail, with a bounded number of faults:

- ``actors.py`` runs a program up to its next effect: a commit, a publish, the relay's reply. An
  actor is a value, so that the explorer can go on from each state in each direction.
- ``programs.py`` are the programs: ``task.sendmail``, ``Acceptance``, cancel, retry, reschedule,
  the dead letters' recorder and replay, prune. All of it is the real code.
- ``world.py`` is a model of the rest: a queue that delivers again, a relay, a clock, crashes. Its
  methods ``*_moves`` and ``_crashes`` are the list of what can go wrong.
- ``promises.py`` says what must hold when nothing goes on any more. One thing is checked at once:
  the relay gets a mail only from the attempt that has claimed it.
- ``explorer.py`` visits all worlds, breadth first. A failing test shows the shortest way.

Faults: a process dies, a worker loses its connection, a message is delivered too often, the
ledger is away before or after COMMIT, a publish is lost, doubled, refused or unconfirmed, the relay
answers 4yz or 5yz or hangs up, everything stands still until a lease or the mail's time is over.
With two faults and a command a scenario takes minutes: too long for a test, but worth a run after
each change of the ledger's rules. A move's cost is that of a dictionary, since what an operation
makes of the same rows is computed once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.interleavings.actors import in_place
from tests.unit.interleavings.explorer import Explored, explore
from tests.unit.interleavings.programs import BEGIN, IDS, mail, written
from tests.unit.interleavings.promises import broken
from tests.unit.interleavings.world import Command, Model, World

A = IDS[0]
CANCEL, RETRY, PRUNE, REPLAY = ("cancel_mail", A), ("retry", A), ("prune", A), ("replay", False)
SOONER = ("reschedule", A, BEGIN + 1800)
HOLD = {"on_uncertain": "hold"}


def accept(email_id: str = A, program: str = "accept", **arguments: Any) -> Command:
    """Return the request that brings the mail."""
    return (program, email_id, written(mail(arguments)))


SCENARIOS = {
    "one fault, canceled and retried": (1, [accept(), CANCEL, RETRY]),
    "one fault, held, canceled and retried": (1, [accept(**HOLD), CANCEL, RETRY]),
    "one fault, rescheduled": (1, [accept(_scheduled_at=BEGIN + 3600), SOONER]),
    "one fault, pruned": (1, [accept(), PRUNE, REPLAY]),
    "two faults": (2, [accept()]),
    "two faults, held": (2, [accept(**HOLD)]),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def explored(faults: int, commands: list[Command], *, remote: bool = False) -> Explored:
    """Explore what can happen to a mail when these requests come, each at any time."""
    loop = asyncio.new_event_loop()
    model = Model(loop=loop, remote=remote)
    first = World(now=BEGIN, rows=model.empty, commands=tuple(commands), faults=faults)
    try:
        with in_place():
            return explore(model, first, lambda world: broken(world, faults))
    finally:
        model.close()
        loop.close()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_promise_is_broken_in_any_order(scenario: str) -> None:
    faults, commands = SCENARIOS[scenario]

    found = explored(faults, commands)

    assert found.quiet > 100, found


def test_no_promise_is_broken_if_no_worker_sees_that_another_one_has_ended() -> None:
    assert explored(1, [accept(), CANCEL], remote=True).quiet > 50


def test_without_faults_every_mail_is_sent_or_canceled() -> None:
    found = explored(0, [accept(), CANCEL, RETRY])

    assert found.quiet > 5, found


def test_two_copies_of_a_request_make_one_mail() -> None:
    copies = [accept(one, "accept_once") for one in IDS]

    assert explored(0, copies).quiet > 0
