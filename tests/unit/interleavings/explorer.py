"""Explores every world that can follow from a first one, breadth first: the first fault that is
found has the shortest way to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from tests.unit.interleavings.world import Model, World


class Explored(NamedTuple):
    """How many worlds there were and how many moves between them, and how many ended quietly."""

    worlds: int
    moves: int
    quiet: int
    depth: int


class Wrong(AssertionError):
    """A world that must not be, and the way to it."""


def explore(
    model: Model, first: World, check: Callable[[World], str], limit: int = 10**9
) -> Explored:
    """Visit all worlds that can follow from ``first``.

    Args:
        check: says what is wrong with a world in which nothing goes on any more.
        limit: of worlds.

    Raises:
        Wrong: with the moves that led there.
    """
    before: dict[World, tuple[World, str] | None] = {first: None}
    depths = {first: 0}
    waiting = deque([first])
    moves = quiet = 0
    while waiting:
        world = waiting.popleft()
        if world.is_quiet:
            quiet += 1
            wrong = check(world)
            if wrong:
                raise Wrong(_story(before, world, wrong))
        for label, after in model.moves(world):
            moves += 1
            if after in before:
                continue
            before[after] = world, label
            depths[after] = depths[world] + 1
            if after.wrong:
                raise Wrong(_story(before, after, after.wrong))
            if len(before) < limit:
                waiting.append(after)
    return Explored(len(before), moves, quiet, max(depths.values()))


def _story(before: dict[World, tuple[World, str] | None], world: World, wrong: str) -> str:
    moves: list[str] = []
    found = before[world]
    while found:
        earlier, label = found
        moves.insert(0, label)
        found = before[earlier]
    events = [
        f"{event['number']} {event['at']:.1f} {event['type']} {event['data']}"
        for event in world.rows.of("events")
    ]
    end = f"taken {world.taken} times; answers {world.answers}; queue {world.queue}"
    return "\n".join([wrong, *moves, "", *events, f"{world.rows.email}", end])
