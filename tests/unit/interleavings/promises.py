"""What must hold when nothing goes on any more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from ledger.values import FINAL, WAITING
from tests.unit.interleavings.programs import IDS
from tests.unit.interleavings.world import World

#: Answers after which a mail may wait without a message, since nobody was told that it is on its
#: way: none, or that nothing is known. After a failed ``replay``, the dead letter is still there.
OPEN = ("none", "NotAccepted None", "LedgerUnavailable", "PublishTimeout", "BridgeError")
#: The same, if the publish was refused, and the ledger was away when that was to be undone.
REFUSED = "NotAccepted False"


def broken(world: World, faults: int) -> str:
    """Return which promise is broken in a world in which nothing goes on; empty: none.

    ``faults``: how many could have happened.
    """
    return "; ".join(_broken(world, faults - world.faults))


def _broken(world: World, faults: int) -> Iterator[str]:
    accepting = [error for program, error in world.answers if program.startswith("accept")]
    accepted = {error for error in accepting if error in ("0", "1")}
    if len(accepted) > 1:
        yield "two copies of a request were answered with different ids"
    email = world.rows.email
    if email is None:
        if accepted:
            yield "an accepted mail is lost"
        if world.taken:
            yield "a mail was sent, and the ledger does not know it"
        return
    if len(world.rows.of("emails")) > 1:
        yield "two mails for one request"
    if accepted and email["id"] not in {IDS[int(one)] for one in accepted}:
        yield "the id of the answer is another mail's"
    ordered = [one for one in ("retry", "reschedule") if (one, "") in world.answers]
    refused = accepting and all(error == REFUSED for error in accepting)
    if refused and world.taken and not ordered:
        yield "a refused mail was sent"
    yield from _of(world, email, faults)
    events = world.rows.of("events")
    yield from _told(email, events)
    if ("reschedule", "") in world.answers and all(one["type"] != "scheduled" for one in events):
        yield "a new schedule was answered, and is not in the timeline"


def _of(world: World, email: dict[str, Any], faults: int) -> Iterator[str]:
    status, taken = email["status"], world.taken
    duplicates = email["possible_duplicates"]
    events = world.rows.of("events")
    doubts = [one for one in events if one["type"] == "uncertain" or "possibly" in one["data"]]
    if taken > 1 + duplicates:
        yield f"sent {taken} times, with {duplicates} possible duplicates"
    if status == "sent" and not taken:
        yield "it says sent, and was not"
    if status == "failed" and taken and not doubts:
        yield "it says failed without a doubt, and was sent"
    if status == "canceled" and taken and not doubts:
        yield "it says canceled without a doubt, and was sent"
    if status == "sending":
        yield "it says sending, and nobody does"
    if status == "uncertain" and email["on_uncertain"] != "hold":
        yield "it is held against the sender's wish"
    unknown = (*OPEN, REFUSED) if faults > 1 else OPEN
    kept = ("accept_once", REFUSED) in world.answers  # for the next copy of the request
    told = not kept and not any(error.startswith(unknown) for _, error in world.answers)
    if status in WAITING and told:
        yield "it waits for ever"
    if ("cancel_mail", "") in world.answers and status != "canceled":
        yield "a cancel was answered, and the mail is not canceled"
    asked = sum(program in ("retry", "replay") for program, _ in world.answers)
    if email["on_uncertain"] == "hold" and duplicates > asked:
        yield "a mail that was to be held was sent again"
    if not faults and duplicates:
        yield "a possible duplicate without a fault"


def _told(email: dict[str, Any], events: list[dict[str, Any]]) -> Iterator[str]:
    """Check the timeline; the first event is the mail's row."""
    if [one["number"] for one in events] != list(range(2, email["events"] + 1)):
        yield "the timeline has gaps"
    times = [one["at"] for one in events]
    if times != sorted(times):
        yield "the timeline goes backwards"
    own = [one["type"] for one in events if not msgspec.json.decode(one["data"]).get("late")]
    last = own[-1] if own else email["status"]
    if last != email["status"] and email["status"] in FINAL:
        yield f"the timeline ends with {last}, the mail is {email['status']}"
