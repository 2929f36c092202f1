"""When a campaign calls the system back at full speed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from chaos.journal import Answered, Journal, Received
from chaos.speed import WAIT_S, Speed

RATE = 20


@pytest.mark.parametrize(
    ("accepted", "sent", "waited_s", "full"),
    [
        (RATE, RATE, 1.5, True),
        (RATE // 2, RATE, 1.5, False),
        (RATE, RATE // 2, 1.5, False),
        (RATE, RATE, WAIT_S + 1, False),  # as fast as they come, but behind a queue
    ],
)
def test_full_speed_is_what_is_offered_accepted_and_sent_without_a_queue_in_front(
    tmp_path: Path, accepted: int, sent: int, waited_s: float, full: bool
) -> None:
    client, relay = Journal(tmp_path / "client"), Journal(tmp_path / "relay")
    speed = Speed(tmp_path / "client", tmp_path / "relay", RATE)
    now = time.time()
    for number in range(sent):
        client.write(Answered(number=number, status=202, id=str(number), at=now - waited_s))
        relay.write(Received(number=number, message_id=str(number), to=[], at=now))
    for number in range(sent, sent + accepted):
        client.write(Answered(number=number, status=202, id=str(number), at=now))

    assert speed.is_full(since=now - 10) is full
