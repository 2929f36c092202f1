"""The broker goes while dead letters are recorded or sent again: no letter goes with it."""

from __future__ import annotations

from pathlib import Path

import kombu
import pytest

from bridge import DeadLetter
from bridge.dead import queue as dead_queue
from bridge.topology import DEFAULT
from dev.broker import BrokerNode
from tests.dead_system import DeadSystem, browse, replay
from tests.outside import virtual_host
from tests.system import wait_until


def test_letters_are_recorded_after_the_broker_was_away(
    own_broker: BrokerNode, tmp_path: Path
) -> None:
    with virtual_host(own_broker) as url:
        system = DeadSystem(url, tmp_path)
        with system.worker:
            (tmp_path / "refuse").touch()
            before = system.call("nobody")
            wait_until(lambda: f"{before}] is not recorded" in system.worker.text(), "a refusal")

            own_broker.restart()
            (tmp_path / "refuse").unlink()
            after = system.call("nobody")

            assert system.recorded(before)["reason"] == "unknown_task"
            assert system.recorded(after)["reason"] == "unknown_task"


def letters(url: str, wanted: list[str]) -> list[str | None]:
    """Return the ids in the dead queue; none while it is not back with those."""
    try:
        with kombu.Connection(url) as connection:
            found = [letter.id for letter in browse(connection, 100)]
    except dead_queue.Interrupted:
        return []
    return found if set(wanted) <= set(found) else []


@pytest.mark.parametrize("lost_at", [1, 3])
def test_a_replay_that_loses_the_broker_says_so_and_can_be_repeated(
    own_broker: BrokerNode, tmp_path: Path, lost_at: int
) -> None:
    with virtual_host(own_broker) as url:
        system = DeadSystem(url, tmp_path)
        system.declare()
        ids = [f"letter-{number}" for number in range(5)]
        system.fill(*ids)
        seen = []

        def edit(letter: DeadLetter) -> DeadLetter:
            seen.append(letter.id)
            if len(seen) == lost_at:
                own_broker.kill()
            return letter

        try:
            with pytest.raises(dead_queue.Interrupted) as caught:
                replay(kombu.Connection(url), None, edit)
        finally:
            own_broker.start()
        done = caught.value.counts.replayed
        assert done == lost_at - 1
        # What the lost connection held comes back a little later than the queue does.
        left = wait_until(lambda: letters(url, ids[done:]), "the letters' return")
        with kombu.Connection(url) as connection:
            again = replay(connection, None)
            waiting = connection.default_channel.queue_declare(
                DEFAULT.default_queue, passive=True
            ).message_count

        # The last acknowledgement may not have come through: a copy more, and none less.
        assert len(left) <= len(ids)
        assert again.replayed == len(left)
        assert waiting >= len(ids)
