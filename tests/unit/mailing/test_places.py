"""Whose turn it is to have a connection, when the relay allows few."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import cast

import pytest

from mailing import NoFreeSession, Unreachable
from mailing.smtp import places
from mailing.smtp.places import Places
from mailing.smtp.session import Session
from tests.system import wait_until

TOO_MANY = Unreachable(421, "too many connections")


def soon() -> float:
    return time.monotonic() + 5


def full() -> Places:
    """Return the places of a relay that allows one connection, which is taken."""
    made = Places()
    assert made.take(soon(), fresh=False) is None
    assert made.take(soon(), fresh=False) is None
    assert made.leave_refused(TOO_MANY)
    return made


def test_who_waits_longest_is_next_and_not_who_has_just_left() -> None:
    one, served = full(), list[str]()
    is_served = threading.Event()

    def take(name: str) -> None:
        one.take(soon(), fresh=False)
        served.append(name)
        is_served.wait(5)
        one.leave()

    with ThreadPoolExecutor() as threads:
        threads.submit(take, "first")
        wait_until(lambda: one._waiting, "somebody who waits")
        one.leave()
        again = threads.submit(take, "second")
        wait_until(lambda: one._waiting and served, "the second to wait for the first")
        is_served.set()
        again.result()

    assert served == ["first", "second"]


def test_who_gives_up_waiting_has_the_relays_reply_and_is_not_called_any_more() -> None:
    one = full()

    with pytest.raises(NoFreeSession) as caught:
        one.take(time.monotonic(), fresh=False)
    one.leave()

    assert (caught.value.code, caught.value.text) == (421, "too many connections")
    assert one.take(soon(), fresh=False) is None


def test_one_thread_at_a_time_finds_out_whether_the_relay_allows_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(places, "ASK_AGAIN_S", 0.05)
    one = full()
    monkeypatch.undo()

    assert one.take(soon(), fresh=False) is None
    with pytest.raises(NoFreeSession):
        one.take(time.monotonic() + 0.1, fresh=False)


@pytest.mark.parametrize("allows_more", [True, False])
def test_what_one_thread_has_found_out_counts_for_all(
    monkeypatch: pytest.MonkeyPatch, allows_more: bool
) -> None:
    monkeypatch.setattr(places, "ASK_AGAIN_S", 0.0)
    one = full()
    monkeypatch.undo()
    one.take(soon(), fresh=False)

    if allows_more:
        one.note_opened()
        assert one.take(time.monotonic(), fresh=False) is None
    else:
        assert one.leave_refused(TOO_MANY)
        with pytest.raises(NoFreeSession):
            one.take(time.monotonic(), fresh=False)


@pytest.mark.parametrize("refusal", [Unreachable(554, "go away"), Unreachable(None, "no route")])
def test_only_a_refusal_for_now_means_that_it_was_one_too_many(refusal: Unreachable) -> None:
    one = Places()
    one.take(soon(), fresh=False)
    one.take(soon(), fresh=False)

    assert not one.leave_refused(refusal)


def test_where_no_more_are_allowed_a_kept_session_takes_the_place_of_a_new_one() -> None:
    one, kept = full(), cast(Session, SimpleNamespace(alive=True))
    one.leave(kept)

    assert one.take(soon(), fresh=True) is kept
