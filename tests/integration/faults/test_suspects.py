"""A mail that kills each worker, and one that is only at hand when it does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import kombu
import pytest

from dev.broker import BrokerNode
from dev.ports import free_port
from tests.crashing import POISON
from tests.dead_system import browse
from tests.delivery_parts import BOB, Parts, parts
from tests.system import wait_until

#: How many workers a message may lose here, by queue.
LIMITS = {"mail": 3, "mail.apart": 1}


@pytest.fixture
def mails(broker: BrokerNode, tmp_path: Path) -> Iterator[Parts]:
    """A worker with one thread, which holds one mail besides that of the thread."""
    with parts(broker, tmp_path, free_port(), MAIL_CONCURRENCY="1") as made:
        vhost = made.url.rpartition("/")[2]
        for queue, limit in LIMITS.items():
            policy = json.dumps({"delivery-limit": limit})
            broker.ctl("set_policy", "-p", vhost, queue, f"^{queue}$", policy)
        yield made


def keep_alive(mails: Parts) -> None:
    """Start the worker again if it has ended, as a process manager does."""
    assert mails.worker.popen is not None
    if mails.worker.popen.poll() is not None:
        with suppress(AssertionError):  # killed again before it was ready
            mails.worker.start()


def ended(mails: Parts, *email_ids: str) -> list[str]:
    """Return the statuses of mails once all have ended, with the worker kept alive until then."""

    def statuses() -> list[str] | None:
        keep_alive(mails)
        found = [str(one and one.status) for one in map(mails.email, email_ids)]
        return found if {*found} <= {"sent", "failed"} else None

    return list(wait_until(statuses, "the end of all mails", 150))


def test_what_kills_its_workers_dies_and_what_is_at_hand_is_sent(mails: Parts) -> None:
    mails.worker.stop()
    poison = mails.send(subject=POISON)
    at_hand = [mails.send(to=BOB) for _ in range(3)]

    assert ended(mails, poison, *at_hand) == ["failed", "sent", "sent", "sent"]

    assert [mail.recipients for mail in mails.relay.mails] == [(BOB,)] * 3
    assert all(one and one.possible_duplicates == 0 for one in map(mails.email, at_hand))
    with kombu.Connection(mails.url) as connection:
        letters = list(browse(connection, 10))
    assert {letter.id for letter in letters} == {poison}
    assert "mail.apart" in {letter.queue for letter in letters}
